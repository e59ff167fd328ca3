"""How an invocation lets go of its job: finalized, or given back for another."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from random import Random

from executor.contract.tiers import ServiceTier
from executor.jobs.deadline import Deadline
from executor.jobs.finalizing import Finalizer
from executor.jobs.intake import Idle
from executor.jobs.invocation import Invocation
from executor.jobs.lease import HeldJob, LeaseLost
from executor.jobs.outcome import Failed, Interrupted, Outcome, Pending
from executor.model_calls.background import BackgroundCalls
from executor.model_calls.charging import Charges
from executor.model_calls.pacing import Pacing
from executor.model_calls.tiers import TierPolicy
from executor.push import Answer
from executor.settings import CallPolicy, ExecutorSettings
from shared.domain.errors import CallOutcomeUnknown, CostCeilingHeld, NoSlot, StepError
from shared.domain.finalize import last_error, patience_over
from shared.domain.jobs import JobRecord
from shared.guarded import Backoff
from shared.log import EventLogger, LogEvent
from shared.ports import Clock

#: Waits before another attempt.
_BACKOFF = Backoff(first_seconds=2.0, longest_seconds=600.0)
#: How soon a job is tried again that waits for calls under way to leave room for it.
CEILING_AGAIN = timedelta(seconds=30)
_SETTLE_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Writes what became of an invocation, and says how its delivery is to be answered."""

    finalizer: Finalizer
    background: BackgroundCalls | None
    pacing: Pacing
    tiers: TierPolicy
    charges: Charges
    clock: Clock
    random: Random
    settings: ExecutorSettings

    async def end(
        self, outcome: Outcome | Interrupted | Pending, invocation: Invocation
    ) -> Answer:
        """Finalize, or give the job back; then write what its calls cost.

        Raises:
            LeaseLost: another holder has the job.
            FirestoreUnavailable: Firestore did not answer.
            FirestoreFinalizeFailed: see `Finalizer.finish`.
        """
        record = invocation.held.with_notes
        answer = await self._let_go(outcome, invocation)
        goes_on = isinstance(outcome, Pending) or answer is Answer.AGAIN
        spent = record if goes_on else replace(record, interaction=None)
        settled = await self.charges.settle(spent, invocation.deadline, invocation.log)
        # A message that comes again finds the step ended, and settles what is left.
        return answer if settled else Answer.AGAIN

    async def settle(self, record: JobRecord, log: EventLogger) -> bool:
        """Write what the calls of a job cost that has ended; whether that worked."""
        ends_at = self.clock.monotonic() + _SETTLE_SECONDS
        deadline = Deadline(clock=self.clock, ends_at=ends_at, reserve_seconds=0.0)
        return await self.charges.settle(replace(record, interaction=None), deadline, log)

    async def _let_go(
        self, outcome: Outcome | Interrupted | Pending, invocation: Invocation
    ) -> Answer:
        if isinstance(outcome, Pending):
            await self._wait(invocation, outcome.look_at, "the model is at work")
            # The sweep wakes the job: a refusal would push it towards the dead letters.
            return Answer.ACK
        record = invocation.held.with_notes
        if isinstance(outcome, Failed) and outcome.error.refused:
            return await self._queue(outcome, invocation)
        if isinstance(outcome, Failed) and isinstance(outcome.error, CostCeilingHeld):
            again = self.clock.now() + CEILING_AGAIN
            await self._wait(invocation, again, outcome.error.message)
            return Answer.ACK
        if isinstance(outcome, Interrupted):
            if self._goes_on(record):
                await self._hand_over(invocation)
                return Answer.AGAIN
            outcome = Failed(error=CallOutcomeUnknown("stopped in the middle of a call"))
        if isinstance(outcome, Failed) and self._may_try_again(outcome.error, record):
            await self._release(outcome.error, invocation)
            return Answer.AGAIN
        await self.finalizer.finish(outcome, invocation)
        await self.forget_call(record, invocation.log, ended=True)
        return Answer.ACK

    async def queue_unleased(self, invocation: Invocation) -> Answer:
        """Have a job that nobody holds wait for room at the provider.

        Raises:
            FirestoreUnavailable: Firestore did not answer.
        """
        error = NoSlot("it is other calls' turn")
        try:
            await self._wait_in_queue(error, invocation)
        except LeaseLost:
            invocation.log.info(LogEvent.JOB_NOOP, reason=Idle.LEASE_HELD)
        return Answer.ACK

    async def give_up(self, outcome: Outcome, invocation: Invocation) -> Answer:
        """End a job that nobody holds any more.

        Raises:
            FirestoreUnavailable: Firestore did not answer.
            FirestoreFinalizeFailed: see `Finalizer.finish`.
        """
        try:
            await self.finalizer.finish(outcome, invocation, leased=False)
        except LeaseLost:
            invocation.log.info(LogEvent.JOB_NOOP, reason=Idle.ALREADY_FINAL)
        else:
            await self.forget_call(invocation.held.record, invocation.log, ended=False)
        settled = await self.settle(invocation.held.record, invocation.log)
        return Answer.ACK if settled else Answer.AGAIN

    async def abandon(self, job: HeldJob, log: EventLogger) -> None:
        """Close a job whose step others ended.

        Raises:
            FirestoreUnavailable: Firestore did not answer.
        """
        record = job.record
        try:
            await job.update(self.finalizer.abandoned)
        except LeaseLost:
            return  # Another process changed the record meanwhile: what it wrote holds.
        await self.forget_call(record, log, ended=False)

    async def forget_call(self, record: JobRecord, log: EventLogger, *, ended: bool) -> None:
        """Have the provider delete what it keeps of a closed job's call.

        Before the job is closed, another holder may still wait for that answer, and would pay
        for a second one. If this process dies here, the closed record still names the call, and
        the next delivery of the message deletes it.
        """
        if record.interaction is not None and self.background is not None:
            await self.background.forget(record.interaction, log, ended=ended)

    async def _queue(self, outcome: Failed, invocation: Invocation) -> Answer:
        """Have the job wait for room at the provider, for as long as its patience lasts."""
        if not await self._wait_in_queue(outcome.error, invocation):
            error = patience_over(invocation.held.with_notes, self.clock.now())
            await self.finalizer.finish(replace(outcome, error=error), invocation)
        return Answer.ACK

    async def _wait_in_queue(self, error: StepError, invocation: Invocation) -> bool:
        """Whether the job waits; if not, its patience is over."""
        now, record = self.clock.now(), invocation.held.with_notes
        asked = ServiceTier(error.asked_tier) if error.asked_tier else None
        waiting = self.pacing.waiting(
            record,
            invocation.run.data,
            invocation.step_id,
            invocation.model or "",
            self.tiers.choice(invocation, now, at_least=asked),
            error,
        )
        if now >= waiting.until:
            return False
        slot_at = self.pacing.slot_at(waiting)
        await invocation.held.give_back(
            partial(
                JobRecord.wait_in_queue,
                waiting=waiting,
                now=now,
                not_before=slot_at,
                error=last_error(error),
            )
        )
        invocation.log.info(
            LogEvent.JOB_DEFERRED,
            "waits for room at the provider",
            code=error.code,
            notBefore=slot_at,
            patienceUntil=waiting.until,
            refusals=record.refusals,
        )
        return True

    def _may_try_again(self, error: StepError, record: JobRecord) -> bool:
        limits = self.settings.limits
        affordable = record.llm_calls < limits.max_llm_calls or record.interaction is not None
        return (
            error.retryable
            and record.attempt < limits.max_attempts
            and affordable
            and self._goes_on(record)
        )

    def _goes_on(self, record: JobRecord) -> bool:
        """Whether a successor may finish the work: with another call, or with this one."""
        return (
            self.settings.call_policy is CallPolicy.AT_LEAST_ONCE
            or not record.lacks_call_id
            or self.settings.gemini.hook_wait is not None
        )

    async def _wait(self, invocation: Invocation, again: datetime, why: str) -> None:
        """Give the job back until then, which counts as no attempt."""
        now = self.clock.now()
        await invocation.held.give_back(
            partial(JobRecord.wait_for_answer, now=now, not_before=again)
        )
        invocation.log.info(LogEvent.JOB_DEFERRED, why, notBefore=again)

    async def _release(self, error: StepError, invocation: Invocation) -> None:
        """Give the job back for another attempt, not before its backoff is over."""
        now = self.clock.now()
        asked = error.retry_after or timedelta(0)
        wait = _BACKOFF.seconds(invocation.held.record.attempt, self.random)
        again = now + asked + timedelta(seconds=wait)
        await invocation.held.give_back(
            partial(JobRecord.release, now=now, not_before=again, error=last_error(error))
        )
        invocation.log.warning(
            LogEvent.JOB_DEFERRED, error.message, code=error.code, notBefore=again
        )

    async def _hand_over(self, invocation: Invocation) -> None:
        """Give the job back at once: the next delivery goes on with it.

        Where a call was just begun whose id never came, a hook may bring it.
        """
        now, hook_wait = self.clock.now(), self.settings.gemini.hook_wait
        lacks_id = hook_wait is not None and invocation.held.with_notes.lacks_call_id
        again = now + hook_wait if hook_wait is not None and lacks_id else now
        await invocation.held.give_back(
            partial(JobRecord.release, now=now, not_before=again, error=None)
        )
        invocation.log.warning(
            LogEvent.JOB_DEFERRED, "the instance is being stopped", notBefore=again
        )
