"""What has become of a call in the background: looked for at ever longer intervals."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import assert_never

from executor.jobs.invocation import Invocation
from executor.jobs.outcome import AnswerLost, AnswerPending, CallEnd
from executor.model_calls.looks import LookTimes, pause_after
from executor.ports import (
    BackgroundModel,
    CallFailed,
    CallForgotten,
    CallRunning,
    CallState,
    ModelAnswer,
)
from shared.domain.errors import GeminiRequestFailed, RetryableError, StepError
from shared.domain.jobs import BackgroundCall
from shared.log import LogEvent
from shared.ports import Clock

#: The provider answers with an id, or with what has become of a call, at once.
REQUEST_SECONDS = 30.0
#: A call is believed forgotten once the provider has said so this often in a row, over this
#: long: it also says so of a call that it has just taken (python-genai#2985).
FORGOTTEN_LOOKS = 5
FORGOTTEN_AFTER = timedelta(minutes=2)
#: How soon a call is looked for again that the provider did not know.
MISSING_AGAIN = timedelta(seconds=30)
_A_MOMENT = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallWatcher:
    """Looks at calls, and says when to look again."""

    model: BackgroundModel
    clock: Clock
    #: After this long at work, a call is given up.
    longest: timedelta
    look_times: LookTimes = field(default_factory=LookTimes)

    async def look(self, call: BackgroundCall, invocation: Invocation) -> CallEnd:
        """What the call has come to.

        That a look fails, or is refused, says nothing about the call, which is paid for: its
        id is kept, and looked for again.

        Raises:
            AnswerPending: it goes on, as far as is known.
        """
        state, asked, problem = await self._state(call, invocation)
        at_work = self.clock.now() - call.begun_at
        pause = pause_after(at_work, seen=problem is None)
        match state:
            case ModelAnswer():
                self.look_times.hooks_come = invocation.announced == call.id
                if state.worked is not None:
                    self.look_times.learn(invocation.model, state.worked)
                return state
            case CallFailed(error=error):
                return AnswerLost(error=error, ended=True)
            case CallForgotten():
                call, pause = self._missing(call, invocation), MISSING_AGAIN
                if _is_gone(call, self.clock.now()):
                    text = "the provider does not know the call any more"
                    error = GeminiRequestFailed(text, maybe_billed=True)
                    return AnswerLost(error=error, ended=None)
            case CallRunning():
                if call.missing_since is not None and problem is None:
                    call = self._looked(call.found(), invocation)
            case _:
                assert_never(state)
        if at_work > self.longest:
            return AnswerLost(error=self._overdue(problem), ended=False)
        # Once it is overdue, somebody must see to that.
        left = self.longest - at_work + _A_MOMENT
        look_at = self.clock.now() + min(max(pause, asked), left)
        raise AnswerPending(in_time_to_stop(call, look_at, self.clock.now()))

    async def _state(
        self, call: BackgroundCall, invocation: Invocation
    ) -> tuple[CallState, timedelta, StepError | None]:
        """What became of the call, how long not to ask again, and why the look failed."""
        try:
            state = await self.model.fetch(call.id, timeout_seconds=REQUEST_SECONDS)
            if isinstance(state, CallRunning) and call.to_stop(self.clock.now()):
                state = await self._stopped(call, invocation)
        except RetryableError as error:
            invocation.log.debug(
                LogEvent.LLM_BACKGROUND_FETCH_STARTED, error.message, code=error.code
            )
            return CallRunning(), error.retry_after or timedelta(0), error
        except StepError as error:
            # Such as a key that is being rotated. Somebody must see to it while we wait.
            invocation.log.warning(
                LogEvent.LLM_BACKGROUND_FETCH_STARTED, error.message, code=error.code
            )
            return CallRunning(), timedelta(0), error
        return state, timedelta(0), None

    async def _stopped(self, call: BackgroundCall, invocation: Invocation) -> CallState:
        """How the call ended that was stopped: it may have been answered just before.

        It counts as under way until its end was read: no other call begins beside it.
        """
        invocation.log.info(LogEvent.LLM_BACKGROUND_STOPPED)
        await self.model.stop(call.id, timeout_seconds=REQUEST_SECONDS)
        return await self.model.fetch(call.id, timeout_seconds=REQUEST_SECONDS)

    def _missing(self, call: BackgroundCall, invocation: Invocation) -> BackgroundCall:
        """The call that was looked for in vain."""
        return self._looked(call.missing(self.clock.now()), invocation)

    def _looked(self, call: BackgroundCall, invocation: Invocation) -> BackgroundCall:
        invocation.held.note(lambda job: job.note_look(call))
        return call

    def _overdue(self, problem: StepError | None) -> StepError:
        """Why the call is given up: what kept us from looking, where it did so for good."""
        if problem is not None and not problem.retryable:
            problem.maybe_billed = True
            return problem
        seconds = self.longest.total_seconds()
        return GeminiRequestFailed(f"no answer within {seconds:.0f} s", maybe_billed=True)


def in_time_to_stop(call: BackgroundCall, look_at: datetime, now: datetime) -> datetime:
    """When to look, so that a call is stopped when a dearer one must begin."""
    if call.stop_at is None or call.to_stop(now):
        return look_at
    return min(look_at, call.stop_at)


def _is_gone(call: BackgroundCall, now: datetime) -> bool:
    """Whether the provider has so often, and for so long, not known the call."""
    since = call.missing_since or now
    return call.missing_looks >= FORGOTTEN_LOOKS and now - since >= FORGOTTEN_AFTER
