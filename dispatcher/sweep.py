"""The sweep: what no event and no message brings back, it finds by asking.

It wakes, ends or closes jobs that nobody works on, and claims steps whose event was lost.
Every change is guarded, so any number of sweeps, dispatchers and executors may work side by
side; what one sweep does not reach, the next one does.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import TypeVar

from dispatcher.claiming import CALL_TIMEOUT_SECONDS, Cause, Claims, RunView, says_invalid
from dispatcher.planning import executable_steps
from dispatcher.settings import DispatcherSettings
from dispatcher.sweep_plan import Outcome, Plan, plan_due_job
from dispatcher.sweep_report import SweepReport
from shared.domain.documents import Create, DocumentRef, Snapshot, Update
from shared.domain.errors import ErrorCode, FlowRunInvalid
from shared.domain.flow_run import parse_flow_run
from shared.domain.identifiers import JobId, split_job_id
from shared.domain.job_documents import parse_job_record
from shared.domain.jobs import JobRecord
from shared.domain.trace import TraceContext, trace_of_event
from shared.events import Event, EventLogger
from shared.ports import (
    Clock,
    Conflict,
    DocumentStore,
    Queue,
    QueueUnavailable,
    StoreUnavailable,
    UnfinishedWork,
)

#: Where a sweep that was cut short says how far it came. No trigger listens there.
CURSOR = DocumentRef("llm_sweeps", "runs")
#: Each further try answers a write that came in between, such as another step of the same
#: run that this sweep ends; then the next sweep has its turn.
MAX_TRIES = 20
_MAX_JITTER_SECONDS = 0.1
MAX_WAKE_JITTER = timedelta(seconds=10)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """Looks through all unfinished work, within bounds of time and number.

    What it claims and publishes, it claims and publishes as the dispatcher does.
    """

    documents: DocumentStore
    work: UnfinishedWork
    queue: Queue
    clock: Clock
    log: EventLogger
    settings: DispatcherSettings
    new_id: Callable[[], str]
    random: Random = field(default_factory=Random)
    #: The span of this one sweep; None: what it claims and wakes begins traces of its own.
    trace: TraceContext | None = None

    async def run(self) -> SweepReport:
        """Sweep once. What goes wrong is counted and logged: a later sweep tries again."""
        report = SweepReport()
        begun, budget = self.clock.monotonic(), self.settings.sweep.budget_seconds
        # However many jobs are due, the runs have their half.
        for part, share in ((self._sweep_jobs, 0.5), (self._sweep_runs, 1.0)):
            try:
                report.complete &= await part(report, begun + share * budget)
            except StoreUnavailable as problem:
                report.note_failure(problem)
        note = self.log.info if report.finished else self.log.warning
        note(Event.SWEEP_FINISHED, **report.as_json())
        return report

    async def _sweep_jobs(self, report: SweepReport, ends_at: float) -> bool:
        """Whether all jobs were looked at that were due at the beginning."""
        now, last, size = self.clock.now(), None, self.settings.sweep.page_size
        for _ in range(self.settings.sweep.max_pages):
            if self.clock.monotonic() >= ends_at:
                break
            page = await self.work.due_jobs(
                now, after=last, limit=size, timeout_seconds=CALL_TIMEOUT_SECONDS
            )
            await self._settle_page(page, report)
            if len(page) < size:
                return True
            last = page[-1]
        return False

    async def _settle_page(self, page: Sequence[Snapshot], report: SweepReport) -> None:
        refs = list(dict.fromkeys(self._run_of(job) for job in page))
        found = await self._read(refs) if refs else ()
        runs = dict(zip(refs, found, strict=True))
        plans = await self._each(
            page, lambda job: self._settle(job, runs[self._run_of(job)]), report
        )
        report.jobs.update(plan.outcome if plan else Outcome.LEFT for plan in plans)
        try:
            await self._claims.publish(
                [plan.wake.message for plan in plans if plan and plan.wake], self._cause()
            )
        except QueueUnavailable as problem:
            # Each record says when to look again: the jobs are late, not lost.
            report.note_failure(problem)

    async def _settle(self, stored: Snapshot, run: Snapshot | None) -> Plan | None:
        """The plan that was committed for the job; None when there was nothing to do.

        Raises:
            JobRecordInvalid: the record was not written by this worker.
            StoreUnavailable: no answer, or the documents changed during every try.
        """
        for attempt in range(1, MAX_TRIES + 1):
            job = parse_job_record(stored.data)
            plan = plan_due_job(
                job=job,
                stored=stored,
                run=run,
                max_attempts=self.settings.sweep.max_attempts,
                keep_for=self.settings.sweep.keep_closed_jobs,
                queued_for=self.settings.queued_for,
                now=self.clock.now(),
                jitter=self.random.random() * MAX_WAKE_JITTER,
            )
            if plan is None:
                return None
            try:
                await self.documents.commit(plan.writes, timeout_seconds=CALL_TIMEOUT_SECONDS)
            except (Conflict, StoreUnavailable):
                jitter = self.random.uniform(0, _MAX_JITTER_SECONDS)
                await asyncio.sleep(jitter * attempt)
                run, fresh = await self._read([self._run_of(stored), stored.ref])
            else:
                self._tell(plan, job)
                return plan
            if fresh is None:
                return None
            if plan.wake and parse_job_record(fresh.data) == plan.wake.woken:
                # It was our commit; only its answer was lost.
                return plan
            stored = fresh
        raise StoreUnavailable(f"the job or its run changed during each of {MAX_TRIES} tries")

    def _tell(self, plan: Plan, job: JobRecord) -> None:
        log = self.log.bind(runId=job.run_id, stepId=job.step_id)
        if plan.outcome is Outcome.EXHAUSTED:
            code = ErrorCode.ATTEMPTS_EXHAUSTED
            log.error(Event.STEP_FAILED, code=code, attempt=job.attempt, llmCalls=job.llm_calls)
        if plan.outcome is Outcome.ABANDONED:
            log.info(Event.JOB_NOOP, reason=plan.outcome)

    async def _sweep_runs(self, report: SweepReport, ends_at: float) -> bool:
        """Whether all running runs were looked at, those before the cursor excepted."""
        [cursor] = await self._read([CURSOR])
        after, size = (
            cursor.data.get("after") if cursor else None,
            self.settings.sweep.page_size,
        )
        complete = False
        for _ in range(self.settings.sweep.max_pages):
            if self.clock.monotonic() >= ends_at:
                break
            page = await self.work.running_runs(
                self.settings.shared.flow_runs,
                after=after,
                limit=size,
                timeout_seconds=CALL_TIMEOUT_SECONDS,
            )
            counts = await self._each(page, self._claim, report)
            report.runs += len(page)
            report.claimed += sum(counts)
            complete = len(page) < size
            if complete:
                break
            after = page[-1].ref.document_id
        await self._move_cursor(cursor, None if complete else after)
        return complete

    async def _claim(self, stored: Snapshot) -> int:
        """Claim what is executable in the run; the number of jobs published."""
        run_id = stored.ref.document_id
        try:
            run = parse_flow_run(run_id, stored.data)
        except FlowRunInvalid as problem:
            # Every sweep finds it again: to say it once is enough.
            if not says_invalid(stored.data):
                await self._claims.report_invalid(
                    run_id, stored.data, stored.version, problem, self.log.bind(runId=run_id)
                )
            return 0
        if not executable_steps(run):
            return 0
        view = RunView(run=run, data=stored.data, version=stored.version)
        return await self._claims.claim(view, self._cause(runId=run_id, **run.labels))

    async def _move_cursor(self, cursor: Snapshot | None, after: str | None) -> None:
        """Remember where the next sweep begins; beside another sweep, either may win."""
        if after == (cursor.data.get("after") if cursor else None):
            return
        write = (
            Update(ref=CURSOR, changes={("after",): after}, guard=cursor.version)
            if cursor
            else Create(ref=CURSOR, data={"after": after})
        )
        with suppress(Conflict):
            await self.documents.commit([write], timeout_seconds=CALL_TIMEOUT_SECONDS)

    async def _each(
        self,
        documents: Sequence[Snapshot],
        act: Callable[[Snapshot], Awaitable[_T]],
        report: SweepReport,
    ) -> Sequence[_T]:
        """Act on all at once; the results of those that did not fail."""
        results = await asyncio.gather(*map(act, documents), return_exceptions=True)
        for document, result in zip(documents, results, strict=True):
            if isinstance(result, BaseException):
                report.note_failure(result, document.ref.document_id)
        return [result for result in results if not isinstance(result, BaseException)]

    def _cause(self, **fields: str | None) -> Cause:
        event_id = f"sweep-{self.new_id()}"
        trace = self.trace or trace_of_event(event_id)
        bound = {**fields, **trace.log_fields(self.settings.shared.project)}
        log = self.log.bind(eventId=event_id, **bound)
        return Cause(event_id=event_id, trace=trace, log=log)

    @property
    def _claims(self) -> Claims:
        return Claims(
            documents=self.documents,
            queue=self.queue,
            clock=self.clock,
            flow_runs=self.settings.shared.flow_runs,
            new_id=self.new_id,
            random=self.random,
            queued_for=self.settings.queued_for,
        )

    async def _read(self, refs: Sequence[DocumentRef]) -> Sequence[Snapshot | None]:
        return await self.documents.read(refs, timeout_seconds=CALL_TIMEOUT_SECONDS)

    def _run_of(self, job: Snapshot) -> DocumentRef:
        run_id, _ = split_job_id(JobId(job.ref.document_id))
        return self._claims.run_ref(run_id)
