"""What the sweep does with due jobs: each on its own, whatever became of the others."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import TypeAlias

from dispatcher.claiming import Cause, Claims
from dispatcher.refusing import CALL_TIMEOUT_SECONDS
from dispatcher.settings import DispatcherSettings
from dispatcher.sweep_plan import Plan, SweepOutcome, plan_due_job
from dispatcher.sweep_report import MAX_NAME_CHARS, SweepReport
from shared.domain.documents import DocumentRef, Snapshot, Update
from shared.domain.errors import ErrorCode
from shared.domain.job_documents import JobRecordInvalid, parse_stored_job
from shared.domain.jobs import JobRecord
from shared.domain.messages import JobMessage
from shared.guarded import Backoff, Done, Tries, guarded
from shared.log import EventLogger, LogEvent
from shared.ports import (
    Clock,
    Conflict,
    DocumentStore,
    PortFailure,
    QueueRefused,
    QueueUnavailable,
    StoreRefused,
    StoreUnavailable,
)

#: Each further try answers a write that came in between, such as another step of the same
#: run that this sweep ends; then the next sweep has its turn.
TRIES = Tries(limit=20, backoff=Backoff(first_seconds=0.1, longest_seconds=0.8))
#: How long a record that cannot be read is left alone. It does not stand in front of the others
#: for ever, and a version that can read it, as after a rollback, still finds it.
PARK_FOR = timedelta(hours=1)
MAX_WAKE_JITTER = timedelta(seconds=10)

#: The run of a job, or why it could not be read.
_Run: TypeAlias = Snapshot | PortFailure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Due:
    """A due job and its run, as they were read."""

    stored: Snapshot
    job: JobRecord
    run: Snapshot | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DueJobs:
    """Wakes, ends or closes due jobs."""

    documents: DocumentStore
    claims: Claims
    clock: Clock
    log: EventLogger
    settings: DispatcherSettings
    random: Random
    #: When no further run is read, on the monotonic clock.
    ends_at: float

    async def resolve(
        self, page: Sequence[Snapshot], cause: Cause, report: SweepReport
    ) -> None:
        """Do what is to be done about each job, and publish the messages of those woken."""
        jobs, odd = _parsed(page, report)
        runs = await self._runs([self._run_ref(job) for _, job in jobs])
        results = await asyncio.gather(
            *(self._resolve(stored, job, runs[self._run_ref(job)]) for stored, job in jobs),
            return_exceptions=True,
        )
        plans: list[Plan] = []
        for (stored, _), result in zip(jobs, results, strict=True):
            if isinstance(result, BaseException):
                report.note_failure(result, stored.ref.document_id)
                if not isinstance(result, PortFailure):
                    odd.append(stored)
            else:
                report.jobs[result.outcome if result else SweepOutcome.LEFT] += 1
                plans += [result] if result else []
        await self._park(odd, report)
        await self._publish([plan.wake.message for plan in plans if plan.wake], cause, report)

    async def _runs(self, refs: Sequence[DocumentRef]) -> dict[DocumentRef, _Run]:
        """The runs, read at once; in halves and then one by one where that fails."""
        refs = list(dict.fromkeys(refs))
        if not refs:
            return {}
        try:
            return dict(zip(refs, await self._read(refs), strict=True))
        except PortFailure as problem:
            if len(refs) == 1 or self.clock.monotonic() >= self.ends_at:
                return dict.fromkeys(refs, problem)
        middle = len(refs) // 2
        return {**await self._runs(refs[:middle]), **await self._runs(refs[middle:])}

    async def _resolve(self, stored: Snapshot, job: JobRecord, run: _Run) -> Plan | None:
        """The plan that was committed for the job; None when there was nothing to do.

        Raises:
            JobRecordInvalid: somebody else wrote the record meanwhile.
            StoreUnavailable: no answer, or the documents changed during every try.
            StoreRefused: Firestore does not let us read or write.
        """
        if isinstance(run, PortFailure):
            raise run
        tried: Plan | None = None

        async def commit(due: _Due) -> Done[Plan | None] | None:
            nonlocal tried
            plan = tried = self._plan(due)
            if plan is None:
                return Done(None)
            try:
                await self._commit(plan)
            except (Conflict, StoreUnavailable):
                return None
            self._tell(plan, due.job)
            return Done(plan)

        async def read_back(due: _Due) -> Done[Plan | None] | _Due:
            run, fresh = await self._read([self._run_ref(due.job), due.stored.ref])
            if fresh is None:
                return Done(None)
            job = parse_stored_job(fresh)
            if tried and tried.wake and job == tried.wake.woken:
                # It was our commit; only its answer was lost.
                return Done(tried)
            if self.clock.monotonic() >= self.ends_at:
                raise StoreUnavailable("the sweep's time was over")
            return _Due(stored=fresh, job=job, run=run)

        return await guarded(
            _Due(stored=stored, job=job, run=run),
            commit=commit,
            read_back=read_back,
            tries=TRIES,
            random=self.random,
            exhausted=lambda: StoreUnavailable(
                f"the job or its run changed during each of {TRIES.limit} tries"
            ),
        )

    async def _commit(self, plan: Plan) -> None:
        """The fullest of the plan's commits for which the run has room."""
        forms = (plan.writes, *plan.smaller)
        for number, writes in enumerate(forms, start=1):
            try:
                await self.documents.commit(writes, timeout_seconds=CALL_TIMEOUT_SECONDS)
            except StoreRefused as problem:
                if not problem.unfit or number == len(forms):
                    raise
            else:
                return

    def _plan(self, due: _Due) -> Plan | None:
        return plan_due_job(
            job=due.job,
            stored=due.stored,
            run=due.run,
            max_attempts=self.settings.sweep.max_attempts,
            keep_for=self.settings.sweep.keep_closed_jobs,
            queued_for=self.settings.queued_for,
            now=self.clock.now(),
            jitter=self.random.random() * MAX_WAKE_JITTER,
        )

    def _tell(self, plan: Plan, job: JobRecord) -> None:
        log = self.log.bind(runId=job.run_id, stepId=job.step_id)
        if plan.outcome is SweepOutcome.EXHAUSTED:
            code = ErrorCode.ATTEMPTS_EXHAUSTED
            log.error(
                LogEvent.STEP_FAILED, code=code, attempt=job.attempt, llmCalls=job.llm_calls
            )
        if plan.outcome is SweepOutcome.OUT_OF_PATIENCE:
            last = job.last_error.code if job.last_error else str(ErrorCode.RATE_LIMITED)
            log.error(LogEvent.STEP_FAILED, code=last, refusals=job.refusals)
        if plan.outcome is SweepOutcome.ABANDONED:
            log.info(LogEvent.JOB_NOOP, reason=plan.outcome)

    async def _park(self, odd: Sequence[Snapshot], report: SweepReport) -> None:
        """Leave records alone for a while that this version cannot work on."""
        if not odd:
            return
        until = self.clock.now() + PARK_FOR
        writes = [
            Update(ref=each.ref, changes={("wakeAt",): until}, guard=each.version)
            for each in odd
        ]
        names = [each.ref.document_id[:MAX_NAME_CHARS] for each in odd]
        text = "this version cannot read these job records"
        self.log.error(LogEvent.JOB_DEFERRED, text, documents=names, notBefore=until)
        for write, problem in await self._written(writes):
            report.note_failure(problem, write.ref.document_id)

    async def _written(self, writes: Sequence[Update]) -> Sequence[tuple[Update, PortFailure]]:
        """The writes that failed; one that stops the others is found by halving."""
        try:
            await self.documents.commit(writes, timeout_seconds=CALL_TIMEOUT_SECONDS)
        except Conflict:
            if len(writes) == 1:
                return []  # Written by others meanwhile, and perhaps mended.
        except StoreRefused as problem:
            if len(writes) == 1:
                return [(writes[0], problem)]
        except StoreUnavailable as problem:
            return [(write, problem) for write in writes]
        else:
            return []
        middle = len(writes) // 2
        return [*await self._written(writes[:middle]), *await self._written(writes[middle:])]

    async def _publish(
        self, messages: Sequence[JobMessage], cause: Cause, report: SweepReport
    ) -> None:
        """Publish at once, or one by one where a message is refused.

        Each record says when to look again: jobs that fail here are late, not lost.
        """
        try:
            await self.claims.publish(messages, cause)
        except QueueRefused as problem:
            if len(messages) == 1 or not problem.unfit:
                report.note_failure(problem)
                return
            for message in messages:
                await self._publish([message], cause, report)
        except QueueUnavailable as problem:
            report.note_failure(problem)

    async def _read(self, refs: Sequence[DocumentRef]) -> Sequence[Snapshot | None]:
        return await self.documents.read(refs, timeout_seconds=CALL_TIMEOUT_SECONDS)

    def _run_ref(self, job: JobRecord) -> DocumentRef:
        return self.claims.run_ref(job.run_id)


def _parsed(
    page: Sequence[Snapshot], report: SweepReport
) -> tuple[list[tuple[Snapshot, JobRecord]], list[Snapshot]]:
    """The records that can be read, and the documents that cannot."""
    jobs: list[tuple[Snapshot, JobRecord]] = []
    odd: list[Snapshot] = []
    for stored in page:
        try:
            jobs.append((stored, parse_stored_job(stored)))
        except JobRecordInvalid as problem:
            report.note_failure(problem, stored.ref.document_id)
            odd.append(stored)
    return jobs, odd
