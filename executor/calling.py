"""Calling the model: booked before it begins, retried while that can end in time."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from random import Random

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from executor.invocation import Invocation
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
from shared.domain.jobs import JobRecord
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
    clock: Clock
    settings: ExecutorSettings
    random: Random

    async def ask(
        self, request: ModelRequest, purpose: CallPurpose, work: Invocation
    ) -> ModelAnswer:
        """The model's answer, whatever it is worth.

        Raises:
            StepError: the last call's error, or why no call could be begun.
            LeaseLost: another holder has the job.
        """
        self._check_budget(work)
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

    async def _call(
        self, request: ModelRequest, purpose: CallPurpose, work: Invocation
    ) -> ModelAnswer:
        seconds = work.seconds_for(
            self.settings.gemini.timeout_seconds, at_least=self._shortest_call_seconds
        )
        await work.held.book_llm_call(purpose)
        call = ModelCall(
            number=work.held.settled.llm_calls, purpose=purpose, started_at=self.clock.now()
        )
        work.held.note(_noted(call))
        name = request.profile.model_name
        work.log.info(Event.LLM_REQUEST_STARTED, modelName=name, call=call.number)
        try:
            answer = await self.model.generate(request, timeout_seconds=seconds)
        except StepError as error:
            self._ended(replace(call, code=str(error.code)), work, error)
            if not _maybe_billed(error):
                work.held.note(JobRecord.call_cost_nothing)
            elif self.settings.call_policy is CallPolicy.AT_MOST_ONCE:
                raise CallOutcomeUnknown(f"call {call.number}: {error.message}") from None
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
        return answer

    def _ended(self, call: ModelCall, work: Invocation, error: StepError | None = None) -> None:
        ended = replace(call, ended_at=self.clock.now())
        work.held.note(_noted(ended))
        log = work.log.warning if error else work.log.info
        log(
            Event.LLM_REQUEST_FINISHED,
            error.message if error else "",
            call=call.number,
            code=call.code,
            llm={
                "modelVersion": call.model_version,
                "finishReason": call.finish_reason,
                "usage": call.usage,
            },
            durationMs=round((self.clock.now() - call.started_at).total_seconds() * 1000),
        )


def _noted(call: ModelCall) -> Callable[[JobRecord], JobRecord]:
    return lambda job: job.note_call(call)


def _maybe_billed(error: StepError) -> bool:
    return isinstance(error, GeminiRequestFailed) and error.maybe_billed
