"""Calling the model: booked before it begins, retried while that can end in time."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from random import Random

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from executor.background import BackgroundCalls
from executor.charging import Charges
from executor.invocation import Invocation
from executor.ledger import Reservation
from executor.ports import LanguageModel, ModelAnswer, ModelRequest
from executor.settings import CallPolicy, ExecutorSettings
from shared.domain.attempts import CallPurpose, ModelCall
from shared.domain.errors import (
    AttemptsExhausted,
    CallOutcomeUnknown,
    GeminiRequestFailed,
    RateLimited,
    StepError,
)
from shared.domain.jobs import BackgroundCall, JobRecord
from shared.domain.times import milliseconds
from shared.events import Event
from shared.ports import Clock

#: Calls of one invocation for the same answer; further attempts come by redelivery.
MAX_TRIES = 3
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 30.0
#: A call that gets less time than this is not begun: the Developer API itself refuses a
#: server timeout of less than 10 seconds.
SHORTEST_CALL_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCaller:
    """Asks the model for one job at a time, within the job's budget of calls and time."""

    model: LanguageModel
    #: Where there is one, calls are made in the background.
    background: BackgroundCalls | None = None
    clock: Clock
    settings: ExecutorSettings
    random: Random
    charges: Charges

    async def ask(
        self, request: ModelRequest, purpose: CallPurpose, work: Invocation
    ) -> ModelAnswer:
        """The model's answer, whatever it is worth.

        Raises:
            StepError: the last call's error, or why no call could be begun.
            AnswerPending: the model is still at work in the background.
            LeaseLost: another holder has the job.
        """
        retrying = AsyncRetrying(
            retry=retry_if_exception_type((GeminiRequestFailed, RateLimited)),
            wait=self._wait_seconds,
            stop=partial(self._stops, work),
            reraise=True,
        )
        return await retrying(partial(self._call, request, purpose, work))

    def calls_left(self, job: JobRecord) -> int:
        """How many more calls the budget allows."""
        return self.settings.limits.max_llm_calls - job.llm_calls

    def resumable(self, job: JobRecord) -> BackgroundCall | None:
        """The call of a former attempt whose answer is the one wanted now."""
        return self.background.resumable(job) if self.background else None

    def _check_budget(self, work: Invocation) -> None:
        record = work.held.settled
        if self.calls_left(record) <= 0:
            last = record.last_error
            raise AttemptsExhausted(
                f"the budget of {record.llm_calls} model calls is spent",
                details={"lastCode": last.code, "lastMessage": last.message} if last else None,
            )

    def _wait_seconds(self, state: RetryCallState) -> float:
        """Full jitter, and never sooner than the provider asked for.

        https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        """
        longest = min(
            FIRST_WAIT_SECONDS * 2.0 ** (state.attempt_number - 1), LONGEST_WAIT_SECONDS
        )
        error = state.outcome.exception() if state.outcome else None
        asked = getattr(error, "retry_after", None) or timedelta(0)
        return float(asked.total_seconds()) + self.random.uniform(0, longest)

    def _stops(self, work: Invocation, state: RetryCallState) -> bool:
        """Whether another call after the wait would be one too many, or come too late."""
        needed = state.upcoming_sleep + self._shortest_call_seconds
        return (
            state.attempt_number >= MAX_TRIES
            or self.calls_left(work.held.settled) <= 0
            or not work.deadline.allows(needed, self.clock.monotonic())
        )

    @property
    def _shortest_call_seconds(self) -> float:
        return min(SHORTEST_CALL_SECONDS, self.settings.gemini.timeout_seconds)

    def _seconds_left(self, work: Invocation) -> float:
        """How long a call may take that begins now.

        Raises:
            TimeBudgetExceeded: too short for any.
        """
        return work.seconds_for(
            self.settings.gemini.timeout_seconds, at_least=self._shortest_call_seconds
        )

    async def _call(
        self, request: ModelRequest, purpose: CallPurpose, work: Invocation
    ) -> ModelAnswer:
        self._seconds_left(work)
        # A repair comes after an answer: what the record then knows of is that one's call.
        begun = self.resumable(work.held.settled) if purpose is CallPurpose.REPORT else None
        call, reservation = await self._started(begun, request, purpose, work)
        try:
            answer = await self._answer(begun, request, work)
        except StepError as error:
            await self._failed(call, error, reservation, work)
            raise
        self._ended(
            replace(
                call,
                finish_reason=answer.finish_reason,
                model_version=answer.model_version,
                usage=answer.usage,
            ),
            work,
        )
        await self.charges.answered(reservation, answer, work)
        return answer

    async def _started(
        self,
        begun: BackgroundCall | None,
        request: ModelRequest,
        purpose: CallPurpose,
        work: Invocation,
    ) -> tuple[ModelCall, Reservation | None]:
        """The call, counted and with its cost reserved: a new one, or the one begun before."""
        if begun:
            reservation = self.charges.standing(request, begun, work)
            call = self._resumed(begun, work)
        else:
            self._check_budget(work)
            reservation = await self.charges.reserve(request, work)
            call = await self._booked(purpose, work)
        name = request.profile.model_name
        call = replace(call, model_name=name)
        work.held.note(_noted(call))
        work.log.info(
            Event.LLM_REQUEST_STARTED, modelName=name, call=call.number, resumed=bool(begun)
        )
        return call, reservation

    async def _failed(
        self,
        call: ModelCall,
        error: StepError,
        reservation: Reservation | None,
        work: Invocation,
    ) -> None:
        self._ended(replace(call, code=str(error.code)), work, error)
        maybe_billed = _maybe_billed(error)
        await self.charges.failed(reservation, work, maybe_billed=maybe_billed)
        if not maybe_billed:
            work.held.note(JobRecord.call_cost_nothing)
            return
        work.held.note(JobRecord.lose_answer)
        if self.settings.call_policy is CallPolicy.AT_MOST_ONCE:
            raise CallOutcomeUnknown(f"call {call.number}: {error.message}") from None

    async def _booked(self, purpose: CallPurpose, work: Invocation) -> ModelCall:
        """One more call, counted before it begins."""
        former = work.held.settled.interaction
        await work.held.book_llm_call(purpose)
        if former and self.background:
            answered = purpose is CallPurpose.REPAIR
            await self.background.forget(former, work.log, ended=answered)
            work.held.check_unexpired()
        return ModelCall(
            number=work.held.settled.llm_calls, purpose=purpose, started_at=self.clock.now()
        )

    def _resumed(self, begun: BackgroundCall, work: Invocation) -> ModelCall:
        """The call that was booked last, by this attempt or a former one."""
        record = work.held.settled
        known = [call for attempt in record.history for call in attempt.calls]
        return next(
            (call for call in known if call.number == record.llm_calls),
            ModelCall(
                number=record.llm_calls, purpose=CallPurpose.REPORT, started_at=begun.begun_at
            ),
        )

    async def _answer(
        self, begun: BackgroundCall | None, request: ModelRequest, work: Invocation
    ) -> ModelAnswer:
        # The time that is left is asked for anew: booking took a while.
        if self.background is None:
            return await self.model.generate(request, timeout_seconds=self._seconds_left(work))
        call = begun or await self.background.begin(
            request, work, seconds=self._seconds_left(work)
        )
        now = self.clock.monotonic()
        waits = min(self.settings.gemini.timeout_seconds, work.deadline.available(now))
        return await self.background.answer(call, work, give_back_at=now + waits)

    def _ended(self, call: ModelCall, work: Invocation, error: StepError | None = None) -> None:
        ended_at = self.clock.now()
        work.held.note(_noted(replace(call, ended_at=ended_at)))
        took = milliseconds(ended_at - call.started_at)
        if error is not None:
            work.log.warning(
                Event.LLM_REQUEST_FINISHED,
                error.message,
                call=call.number,
                code=error.code,
                durationMs=took,
            )
            return
        work.log.info(
            Event.LLM_REQUEST_FINISHED,
            call=call.number,
            llm={
                "modelVersion": call.model_version,
                "finishReason": call.finish_reason,
                "usage": call.usage,
            },
            durationMs=took,
        )


def _noted(call: ModelCall) -> Callable[[JobRecord], JobRecord]:
    return lambda job: job.note_call(call)


def _maybe_billed(error: StepError) -> bool:
    return isinstance(error, GeminiRequestFailed) and error.maybe_billed
