"""How an invocation lets go of its job: finalized, or given back for another."""

from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from random import Random

from executor.background import BackgroundCalls
from executor.finalizing import Finalizer
from executor.invocation import Invocation
from executor.outcome import Failed, Interrupted, Outcome, Pending
from executor.settings import CallPolicy, ExecutorSettings
from shared.domain.errors import CallOutcomeUnknown, StepError
from shared.domain.finalize import last_error
from shared.domain.jobs import JobRecord
from shared.events import Event, EventLogger
from shared.ports import Clock

#: Bound of the wait before another attempt, doubled with each.
_FIRST_BACKOFF_SECONDS = 2.0
_LONGEST_BACKOFF_SECONDS = 600.0
#: How soon somebody should look for an answer that was not there in time.
PENDING_AGAIN = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """Ends invocations."""

    finalizer: Finalizer
    background: BackgroundCalls | None
    clock: Clock
    random: Random
    settings: ExecutorSettings

    async def end(self, outcome: Outcome | Interrupted | Pending, work: Invocation) -> int:
        """Finalize, or give the job back; the status that answers the delivery.

        Raises:
            LeaseLost: another holder has the job.
            FirestoreUnavailable: Firestore did not answer.
            FirestoreFinalizeFailed: see `Finalizer.finish`.
        """
        if isinstance(outcome, Pending):
            await self._wait(work)
            # The sweep wakes the job: a refusal would push it towards the dead letters.
            return HTTPStatus.NO_CONTENT
        record = work.held.settled
        if isinstance(outcome, Interrupted):
            if self._goes_on(record):
                await self._hand_over(work)
                return HTTPStatus.SERVICE_UNAVAILABLE
            outcome = Failed(error=CallOutcomeUnknown("stopped in the middle of a call"))
        if isinstance(outcome, Failed) and self._may_try_again(outcome.error, record):
            await self._release(outcome.error, work)
            return HTTPStatus.SERVICE_UNAVAILABLE
        await self.finalizer.finish(outcome, work.run, work.held, work.deadline, work.log)
        await self.forget_call(record, work.log, ended=True)
        return HTTPStatus.NO_CONTENT

    async def forget_call(self, record: JobRecord, log: EventLogger, *, ended: bool) -> None:
        """Have the provider delete what it keeps of a closed job's call: nobody needs it now.

        Sooner, another holder may still wait for the answer, and would pay for a second one.
        Should we die here, the record still names the call, and its message comes again.
        """
        if record.interaction is not None and self.background is not None:
            await self.background.forget(record.interaction, log, ended=ended)

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
            or not record.call_open
            or record.interaction is not None
        )

    async def _wait(self, work: Invocation) -> None:
        """Give the job back with its call under way."""
        now = self.clock.now()
        not_before = now + PENDING_AGAIN
        await work.held.update(
            lambda _: work.held.settled.wait_for_answer(now=now, not_before=not_before)
        )
        work.log.info(Event.JOB_DEFERRED, "the model is still at work", notBefore=not_before)

    async def _release(self, error: StepError, work: Invocation) -> None:
        """Give the job back for another attempt, not before its backoff is over."""
        now = self.clock.now()
        asked = getattr(error, "retry_after", None) or timedelta(0)
        not_before = now + asked + self._backoff(work.held.record.attempt)
        await work.held.update(
            lambda _: work.held.settled.release(
                now=now, not_before=not_before, error=last_error(error)
            )
        )
        work.log.warning(
            Event.JOB_DEFERRED, error.message, code=error.code, notBefore=not_before
        )

    async def _hand_over(self, work: Invocation) -> None:
        """Give the job back at once: whoever gets the next delivery goes on."""
        now = self.clock.now()
        await work.held.update(
            lambda _: work.held.settled.release(now=now, not_before=now, error=None)
        )
        work.log.warning(Event.JOB_DEFERRED, "the instance is being stopped", notBefore=now)

    def _backoff(self, attempt: int) -> timedelta:
        """Full jitter below a bound that doubles with every attempt."""
        longest = min(_FIRST_BACKOFF_SECONDS * 2.0 ** (attempt - 1), _LONGEST_BACKOFF_SECONDS)
        return timedelta(seconds=self.random.uniform(0, longest))
