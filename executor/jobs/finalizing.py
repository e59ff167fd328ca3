"""Writing a step's outcome and closing its job: one commit, applied as a whole or not."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any

from executor.billing.accounting import accounting
from executor.billing.prices import PriceTable
from executor.jobs.intake import Idle, nothing_to_work_on
from executor.jobs.invocation import Invocation, run_labels
from executor.jobs.lease import LeaseLost
from executor.jobs.outcome import Outcome, Succeeded, finalize_forms
from executor.jobs.records import RecordReader
from executor.jobs.rivals import StepTimes, first_spread, reads_first, rivals, spread
from executor.jobs.run_locks import RunLock, RunLocks
from executor.ports import CALL_TIMEOUT_SECONDS
from shared.domain.documents import Snapshot, Version, Write
from shared.domain.errors import ErrorCode, FirestoreFinalizeFailed
from shared.domain.finalize import last_error
from shared.domain.job_documents import job_ref, parse_job_record
from shared.domain.jobs import JobMove, JobRecord, JobState
from shared.guarded import Backoff, Done, Tries, guarded
from shared.log import LogEvent
from shared.ports import Clock, Conflict, DocumentStore, StoreRefused, StoreUnavailable

#: Many steps of one run may end at once; each loser reads back and tries again. The waits
#: between the tries alone outlast the finalize budget.
TRIES = Tries(limit=40, backoff=Backoff(first_seconds=0.1, longest_seconds=3.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Finalizer:
    """Ends steps: writes the outcome and closes the job, in one commit."""

    documents: DocumentStore
    records: RecordReader
    clock: Clock
    random: Random
    run_locks: RunLocks
    keep_for: timedelta
    prices: PriceTable
    step_times: StepTimes = field(default_factory=StepTimes)

    async def finish(
        self, outcome: Outcome, invocation: Invocation, *, leased: bool = True
    ) -> None:
        """End the step with the outcome, unless it has ended already.

        Args:
            outcome: what to write.
            invocation: whose step ends.
            leased: whether the invocation holds the job's lease.

        Raises:
            LeaseLost: another holder has the job.
            FirestoreUnavailable: Firestore did not answer.
            FirestoreFinalizeFailed: others kept writing the run until the time was over, or
                Firestore does not let us write.
        """
        ending = _Ending(finalizer=self, outcome=outcome, invocation=invocation, leased=leased)
        async with self.run_locks.at(invocation.run.ref) as lock:
            await ending.write(lock)

    def abandoned(self, record: JobRecord) -> JobRecord:
        """The record of a job whose step others ended."""
        return record.close(JobMove.ABANDON, now=self.clock.now(), keep_for=self.keep_for)


@dataclass(slots=True, kw_only=True)
class _Ending:
    """The end of one step."""

    finalizer: Finalizer
    outcome: Outcome
    invocation: Invocation
    leased: bool
    #: When the try under way began, on the monotonic clock.
    begun: float = 0.0

    async def write(self, lock: RunLock) -> None:
        first = await self._first(lock)
        if isinstance(first, Done):
            return
        await guarded(
            first,
            commit=lambda run: self._commit(run, lock),
            read_back=lambda _: self._read_back(),
            tries=TRIES,
            random=self.finalizer.random,
            exhausted=_not_in_time,
            spread=lambda run: self._spread(run, lock),
        )

    async def _first(self, lock: RunLock) -> Done[None] | Snapshot:
        """The run on which to decide first; Done when the step has ended."""
        given = self.invocation.run
        run = lock.newest(given)
        self.begun = self.finalizer.clock.monotonic()
        elsewhere = self._elsewhere(run, lock)
        # The lock's last holder may have seen that the step was cancelled since.
        gone = nothing_to_work_on(run.data, self.invocation.step_id) is not None
        times, took = self.finalizer.step_times, self.begun - self.invocation.started
        flow = run_labels(run, self.invocation.step_id).get("flowKey")
        slower = times.slower_than(took, flow=flow)
        times.remember(took, flow=flow)
        newest_known = run is not given
        if not gone and not reads_first(elsewhere, newest_known=newest_known, slower=slower):
            return run
        await asyncio.sleep(self.finalizer.random.uniform(0, first_spread(elsewhere)))
        return await self._read_back()

    def _spread(self, run: Snapshot, lock: RunLock) -> float:
        """Over how many seconds the steps of the run at work are to spread their next try."""
        took = self.finalizer.clock.monotonic() - self.begun
        return spread(self._elsewhere(run, lock), slot_seconds=took)

    def _elsewhere(self, run: Snapshot, lock: RunLock) -> int:
        """Steps of the run at work that do not wait here for this lock."""
        return rivals(run.data, self.invocation.step_id) - (lock.steps - 1)

    async def _commit(self, run: Snapshot, lock: RunLock) -> Done[None] | None:
        if self.invocation.deadline.remaining() <= 0:
            raise _not_in_time()
        finalizer, held = self.finalizer, self.invocation.held
        record = held.with_notes
        taken = accounting(record, finalizer.prices)
        forms = finalize_forms(
            outcome=self.outcome,
            run=run,
            job=record,
            job_version=held.version,
            now=finalizer.clock.now(),
            keep_for=finalizer.keep_for,
            accounting=taken,
        )
        try:
            form, version = await self._fitting(forms)
        except (Conflict, StoreUnavailable):
            return None
        if form == len(forms) - 1:
            self._tell_unsaid(record)
            return Done(None)
        lock.written(run, version)
        self._tell(record, taken)
        return Done(None)

    async def _fitting(self, forms: Sequence[Sequence[Write]]) -> tuple[int, Version]:
        """Which of the commits fits the run's document, applied; and the version it gave."""
        last: StoreRefused | None = None
        for number, writes in enumerate(forms):
            try:
                return number, await self.finalizer.documents.commit(
                    writes, timeout_seconds=CALL_TIMEOUT_SECONDS
                )
            except StoreRefused as problem:
                last = problem
                if not problem.unfit:
                    break
        raise FirestoreFinalizeFailed(f"the outcome was refused: {last}")

    async def _read_back(self) -> Done[None] | Snapshot:
        """The run to finalize on; Done when the step has ended."""
        finalizer, held, log = self.finalizer, self.invocation.held, self.invocation.log
        claim, self.begun = held.record, finalizer.clock.monotonic()
        refs = [self.invocation.run.ref, job_ref(claim.run_id, claim.step_id)]
        run, stored = await finalizer.records.read(refs)
        if stored is None:
            raise LeaseLost
        record = parse_job_record(stored.data)
        if record.claim_id != claim.claim_id:
            raise LeaseLost
        if record.closed:
            if _is_ours(record, self.outcome, claim):
                noted = held.with_notes
                self._tell(noted, accounting(noted, finalizer.prices))
            else:
                log.info(LogEvent.JOB_NOOP, reason=Idle.ALREADY_FINAL)
            return Done(None)
        if self.leased:
            held.adopt(record, stored.version)
        elif stored.version != held.version:
            raise LeaseLost
        gone = nothing_to_work_on(run.data if run else None, record.step_id)
        if gone is not None or run is None:
            log.info(LogEvent.JOB_NOOP, reason=gone)
            await held.update(finalizer.abandoned)
            return Done(None)
        return run

    def _tell(self, job: JobRecord, taken: dict[str, Any] | None) -> None:
        """Say how the step ended, and what it cost where every call has a price."""
        log, outcome = self.invocation.log, self.outcome
        calls, cost = job.llm_calls, (taken or {}).get("costUsd")
        if isinstance(outcome, Succeeded):
            log.info(
                LogEvent.STEP_COMPLETED,
                uri=str(outcome.report.uri),
                reused=outcome.answer is None,
                llmCalls=calls,
                costUsd=cost,
            )
        else:
            error = outcome.error
            log.error(
                LogEvent.STEP_FAILED,
                error.message,
                code=error.code,
                llmCalls=calls,
                costUsd=cost,
            )

    def _tell_unsaid(self, job: JobRecord) -> None:
        """Log an outcome that the run's document has no room for."""
        self.invocation.log.error(
            LogEvent.STEP_FAILED,
            "the run document has no room for the outcome; its step stays RUNNING",
            code=ErrorCode.RUN_TOO_LARGE,
            llmCalls=job.llm_calls,
        )


def _not_in_time() -> FirestoreFinalizeFailed:
    return FirestoreFinalizeFailed("the outcome could not be written in time")


def _is_ours(closed: JobRecord, outcome: Outcome, claim: JobRecord) -> bool:
    """Whether our own commit closed the job, and only its answer was lost."""
    if isinstance(outcome, Succeeded):
        ended_so = closed.state is JobState.SUCCEEDED
    else:
        ended_so = closed.state is JobState.FAILED and (
            closed.last_error == last_error(outcome.error)
        )
    return ended_so and closed.attempt == claim.attempt
