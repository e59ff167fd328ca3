"""The sweep: what no event and no message brings back, it finds by asking.

It wakes, ends or closes jobs that nobody works on, and claims steps whose event was lost.
Every change is guarded, so any number of sweeps, dispatchers and executors may work side by
side; what one sweep does not reach, the next one does.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random

from dispatcher.claiming import BelievedRun, Cause, Claims
from dispatcher.pacer import Pacer
from dispatcher.planning import executable_steps
from dispatcher.queued import QueueHeads
from dispatcher.refusing import CALL_TIMEOUT_SECONDS, says_invalid
from dispatcher.settings import DispatcherSettings
from dispatcher.sweep_jobs import DueJobs
from dispatcher.sweep_pages import Cursor, Pages, Query
from dispatcher.sweep_report import SweepReport
from dispatcher.unsharded import Unsharded
from shared.domain.document_size import room_left
from shared.domain.documents import DocumentRef, Snapshot
from shared.domain.errors import FlowRunInvalid
from shared.domain.flow_run import parse_flow_run
from shared.domain.job_documents import COLLECTION as JOBS
from shared.domain.trace import TraceContext, trace_of_event
from shared.log import EventLogger, LogEvent
from shared.ports import Clock, DocumentStore, PortFailure, UnfinishedWork

#: Where a sweep that was cut short says how far it came.
CURSOR = DocumentRef("llm_sweeps", "runs")
JOBS_CURSOR = DocumentRef("llm_sweeps", "jobs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Looks through all unfinished work, within bounds of time and number.

    What it claims and publishes, it claims and publishes as the dispatcher does.
    """

    claims: Claims
    documents: DocumentStore
    work: UnfinishedWork
    clock: Clock
    log: EventLogger
    settings: DispatcherSettings
    new_id: Callable[[], str]
    random: Random
    #: The span of this one sweep; None: what it claims and wakes begins traces of its own.
    trace: TraceContext | None = None

    async def run(self) -> SweepReport:
        """Sweep once. What goes wrong is counted and logged: a later sweep tries again."""
        report = SweepReport()
        begun, budget = self.clock.monotonic(), self.settings.sweep.budget_seconds
        pacing = asyncio.create_task(
            self._pacer(report).run(begun + self.settings.sweep.pacing_seconds)
        )
        # However many jobs are due, the runs have their half.
        for part, share in ((self._sweep_jobs, 0.5), (self._sweep_runs, 1.0)):
            try:
                await part(report, begun + share * budget)
            except PortFailure as problem:
                report.note_failure(problem)
                report.complete = False
        await pacing
        note = self.log.info if report.finished else self.log.warning
        note(LogEvent.SWEEP_FINISHED, **report.as_json())
        return report

    async def _sweep_jobs(self, report: SweepReport, ends_at: float) -> None:
        """Look at the jobs that are due now."""
        now = self.clock.now()
        jobs = DueJobs(
            documents=self.documents,
            claims=self.claims,
            clock=self.clock,
            log=self.log,
            settings=self.settings,
            random=self.random,
            ends_at=ends_at,
        )

        async def due(*, after: Snapshot | None, limit: int, heads: bool) -> Sequence[Snapshot]:
            return await self.work.due_jobs(
                now,
                after=after,
                limit=limit,
                timeout_seconds=CALL_TIMEOUT_SECONDS,
                **_heads_alone(heads),
            )

        async def resolve(page: Sequence[Snapshot]) -> None:
            await jobs.resolve(page, self._cause(), report)

        cursor = self._cursor(JOBS_CURSOR, JOBS)
        await self._walk(due, cursor, resolve, report, ends_at)

    async def _sweep_runs(self, report: SweepReport, ends_at: float) -> None:
        """Look at the running runs."""
        collection = self.settings.shared.flow_runs
        unsharded = Unsharded(documents=self.documents, clock=self.clock, random=self.random)

        async def running(
            *, after: Snapshot | None, limit: int, heads: bool
        ) -> Sequence[Snapshot]:
            return await self.work.running_runs(
                collection,
                after=after.ref.document_id if after else None,
                limit=limit,
                timeout_seconds=CALL_TIMEOUT_SECONDS,
                **_heads_alone(heads),
            )

        async def claim(page: Sequence[Snapshot]) -> None:
            results = await asyncio.gather(*map(self._claim, page), return_exceptions=True)
            for run, result in zip(page, results, strict=True):
                if isinstance(result, BaseException):
                    report.note_failure(result, run.ref.document_id)
                else:
                    report.claimed += result
            report.runs += len(page)
            try:
                await unsharded.mend(page)
            except PortFailure as problem:
                report.note_failure(problem)

        cursor = self._cursor(CURSOR, collection)
        await self._walk(running, cursor, claim, report, ends_at)

    def _cursor(self, ref: DocumentRef, collection: str) -> Cursor:
        return Cursor(
            documents=self.documents, clock=self.clock, ref=ref, collection=collection
        )

    async def _walk(
        self,
        query: Query,
        cursor: Cursor,
        act: Callable[[Sequence[Snapshot]], Awaitable[None]],
        report: SweepReport,
        ends_at: float,
    ) -> None:
        """Act on page after page, from the cursor on, and move it along."""
        bounds, seen = self.settings.sweep, 0
        pages, last = Pages(query, bounds.page_size), await cursor.load()
        while self.clock.monotonic() < ends_at and seen < bounds.max_pages * bounds.page_size:
            page = await pages.behind(last)
            if page.failure is not None and page.last is not None:
                report.note_failure(page.failure, page.last.ref.document_id)
                report.complete = False
            await act(page.documents)
            seen += max(1, len(page.documents))
            last = page.last
            if last is None:
                await cursor.save(None)
                return
            await cursor.follow(last)
        await cursor.save(last)
        report.complete = False

    async def _claim(self, stored: Snapshot) -> int:
        """Claim what is executable in the run; the number of jobs published."""
        run_id = stored.ref.document_id
        try:
            run = parse_flow_run(run_id, stored.data)
        except FlowRunInvalid as problem:
            # Every sweep finds it again: to say it once is enough.
            if not says_invalid(stored.data):
                await self.claims.refusing.report_invalid(
                    run_id, stored.data, stored.version, problem, self.log.bind(runId=run_id)
                )
            return 0
        if not executable_steps(run):
            return 0
        view = BelievedRun(
            run=run, data=stored.data, version=stored.version, bytes_left=room_left(stored)
        )
        return await self.claims.claim(view, self._cause(runId=run_id, **run.labels))

    def _cause(self, **fields: str | None) -> Cause:
        event_id = f"sweep-{self.new_id()}"
        trace = self.trace or trace_of_event(event_id)
        bound = {**fields, **trace.log_fields(self.settings.shared.project)}
        log = self.log.bind(eventId=event_id, **bound)
        return Cause(event_id=event_id, trace=trace, log=log)

    def _pacer(self, report: SweepReport) -> Pacer:
        return Pacer(
            documents=self.documents,
            work=self.work,
            heads=QueueHeads(work=self.work, report=report),
            claims=self.claims,
            clock=self.clock,
            queued_for=self.settings.queued_for,
            keep_closed_jobs=self.settings.sweep.keep_closed_jobs,
            report=report,
            cause=self._cause(),
        )


def _heads_alone(heads: bool) -> dict[str, bool]:  # noqa: FBT001 -- of the port
    return {"heads": True} if heads else {}
