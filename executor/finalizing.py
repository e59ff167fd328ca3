"""Writing the outcome down, however many others write the same run meanwhile."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Protocol

from executor.accounting import accounting
from executor.intake import Idle, nothing_to_work_on
from executor.lease import CALL_TIMEOUT_SECONDS, HeldJob, LeaseLost
from executor.outcome import Outcome, Succeeded, finalize_writes
from executor.prices import PriceTable
from executor.turns import RunTurns
from shared.domain.deadline import Deadline
from shared.domain.documents import DocumentRef, Snapshot, Version
from shared.domain.errors import FirestoreFinalizeFailed
from shared.domain.finalize import last_error
from shared.domain.job_documents import job_ref, parse_job_record
from shared.domain.jobs import JobMove, JobRecord, JobState
from shared.events import Event, EventLogger
from shared.ports import Clock, Conflict, DocumentStore, StoreUnavailable

#: Many steps of one run may end at once; each loser reads back and tries again. The waits
#: between the tries alone outlast the finalize budget.
MAX_TRIES = 40
_FIRST_JITTER_SECONDS = 0.1
_LONGEST_JITTER_SECONDS = 3.0


class ReadDocuments(Protocol):
    """Reads documents as of one moment, or raises FirestoreUnavailable."""

    async def __call__(self, refs: Sequence[DocumentRef]) -> Sequence[Snapshot | None]:
        """In the order asked for; None where there is none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Finalizer:
    """Writes outcomes."""

    documents: DocumentStore
    read_documents: ReadDocuments
    clock: Clock
    random: Random
    turns: RunTurns
    keep_for: timedelta
    prices: PriceTable = field(default_factory=dict)

    async def finish(
        self,
        outcome: Outcome,
        run: Snapshot,
        job: HeldJob,
        deadline: Deadline,
        log: EventLogger,
        *,
        leased: bool = True,
    ) -> None:
        """End the step with the outcome, unless it has ended already.

        Raises:
            LeaseLost: another holder has the job.
            FirestoreUnavailable: Firestore did not answer.
            FirestoreFinalizeFailed: others kept writing the run until the time was over.
        """
        async with self.turns.at(run.ref) as turn:
            newest = turn.newest(run)
            current: Snapshot | None = newest
            if nothing_to_work_on(newest.data, job.record.step_id) is not None:
                # Cancelled since it was read: whoever wrote before us saw it.
                current = await self._current(outcome, run.ref, job, log, leased=leased)
            for attempt in range(MAX_TRIES):
                if current is None:
                    return
                if deadline.remaining(self.clock.monotonic()) <= 0:
                    break
                try:
                    version = await self._commit(outcome, current, job)
                except (Conflict, StoreUnavailable):
                    await self._pause(attempt)
                    current = await self._current(outcome, run.ref, job, log, leased=leased)
                else:
                    turn.written(current, version)
                    log_outcome(outcome, job, log, self.prices)
                    return
        raise FirestoreFinalizeFailed("the outcome could not be written in time")

    async def _commit(self, outcome: Outcome, run: Snapshot, job: HeldJob) -> Version:
        writes = finalize_writes(
            outcome=outcome,
            run=run,
            job=job.settled,
            job_version=job.version,
            now=self.clock.now(),
            keep_for=self.keep_for,
            prices=self.prices,
        )
        return await self.documents.commit(writes, timeout_seconds=CALL_TIMEOUT_SECONDS)

    async def _pause(self, attempt: int) -> None:
        longest = min(_FIRST_JITTER_SECONDS * 2.0**attempt, _LONGEST_JITTER_SECONDS)
        await asyncio.sleep(self.random.uniform(0, longest))

    async def _current(
        self,
        outcome: Outcome,
        run_ref: DocumentRef,
        job: HeldJob,
        log: EventLogger,
        *,
        leased: bool,
    ) -> Snapshot | None:
        """The run to finalize on; None when the step has ended."""
        claim = job.record
        run, stored = await self.read_documents([run_ref, job_ref(claim.run_id, claim.step_id)])
        if stored is None:
            raise LeaseLost
        record = parse_job_record(stored.data)
        if record.claim_id != claim.claim_id:
            raise LeaseLost
        if record.closed:
            if _is_ours(record, outcome, claim):
                log_outcome(outcome, job, log, self.prices)
            else:
                log.info(Event.JOB_NOOP, reason=Idle.ALREADY_FINAL)
            return None
        if leased:
            job.adopt(record, stored.version)
        elif stored.version != job.version:
            raise LeaseLost
        gone = nothing_to_work_on(run.data if run else None, record.step_id)
        if gone is not None or run is None:
            log.info(Event.JOB_NOOP, reason=gone)
            await job.update(self.abandoned)
            return None
        return run

    def abandoned(self, record: JobRecord) -> JobRecord:
        """The record of a job whose step others ended."""
        return record.close(JobMove.ABANDON, now=self.clock.now(), keep_for=self.keep_for)


def _is_ours(closed: JobRecord, outcome: Outcome, claim: JobRecord) -> bool:
    """Whether our own commit closed the job, and only its answer was lost."""
    if isinstance(outcome, Succeeded):
        ended_so = closed.state is JobState.SUCCEEDED
    else:
        ended_so = closed.state is JobState.FAILED and (
            closed.last_error == last_error(outcome.error)
        )
    return ended_so and closed.attempt == claim.attempt


def log_outcome(outcome: Outcome, job: HeldJob, log: EventLogger, prices: PriceTable) -> None:
    """Say how the step ended, and what it cost where every call has a price."""
    calls, cost = job.settled.llm_calls, (accounting(job.settled, prices) or {}).get("costUsd")
    if isinstance(outcome, Succeeded):
        log.info(
            Event.STEP_COMPLETED,
            uri=str(outcome.report.uri),
            reused=outcome.answer is None,
            llmCalls=calls,
            costUsd=cost,
        )
    else:
        error = outcome.error
        log.error(
            Event.STEP_FAILED, error.message, code=error.code, llmCalls=calls, costUsd=cost
        )
