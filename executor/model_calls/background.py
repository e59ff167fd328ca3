"""Calls in the background: begun, recorded, left alone, and fetched by whoever is woken.

The provider keeps the answer under an id. Once the id stands in the job record, no crash
makes a second call necessary: whoever takes the job next fetches the answer of the first.
Nobody waits for it: the job is given back with a time at which to look.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import assert_never

from executor.jobs.invocation import Invocation
from executor.jobs.outcome import AnswerLost, AnswerPending, CallEnd
from executor.model_calls.hooks import announced_labels, hook_url, own_call
from executor.model_calls.looks import LookTimes, pause_after, unhurried
from executor.ports import (
    BackgroundModel,
    CallFailed,
    CallForgotten,
    CallRunning,
    CallState,
    ModelAnswer,
    ModelRequest,
)
from executor.settings import HookSettings
from shared.domain.errors import (
    FirestoreUnavailable,
    GeminiRequestFailed,
    RetryableError,
    StepError,
)
from shared.domain.jobs import BackgroundCall, JobRecord
from shared.log import EventLogger, LogEvent
from shared.ports import Clock

#: The provider answers with an id, or with what has become of a call, at once.
REQUEST_SECONDS = 30.0
#: How long an instance that is being stopped waits for the id of a call that it just began.
#: It has 10 seconds (https://cloud.google.com/run/docs/container-contract#instance-shutdown).
LAST_CHANCE_SECONDS = 4.0
#: Deleting is worth a little of the time that is kept for finalizing.
FORGET_SECONDS = 5.0
#: A call is believed forgotten once the provider has said so this often in a row, over this
#: long: it also says so of a call that it has just taken (python-genai#2985).
FORGOTTEN_LOOKS = 5
FORGOTTEN_AFTER = timedelta(minutes=2)
#: How soon a call is looked for again that the provider did not know.
MISSING_AGAIN = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackgroundCalls:
    """Begins calls in the background, and looks for their answers."""

    model: BackgroundModel
    clock: Clock
    #: After this long at work, a call is given up.
    longest: timedelta
    #: Where the end of a call is announced, if anywhere.
    hooks: HookSettings | None = None
    look_times: LookTimes = field(default_factory=LookTimes)

    def resumable(self, record: JobRecord) -> BackgroundCall | None:
        """The call whose answer is the one wanted now: begun with these very inputs."""
        call = record.interaction
        return call if call and call.input_digest == record.input_digest else None

    async def begin(
        self, request: ModelRequest, invocation: Invocation, *, seconds: float
    ) -> BackgroundCall:
        """Have the model begin, and record the id under the lease.

        Raises:
            AnswerPending: a call may have begun, and a hook may bring its id.
            StepError: see the port.
            LeaseLost: another holder has the job.
        """
        request = self._announced(request, invocation)
        beginning = asyncio.create_task(
            self.model.begin(request, timeout_seconds=min(REQUEST_SECONDS, seconds))
        )
        try:
            call = self._noted(await asyncio.shield(beginning), request, invocation)
        except asyncio.CancelledError:
            await self._last_chance(beginning, request, invocation)
            raise
        except StepError as error:
            if self.hooks is None or not error.maybe_billed:
                raise
            invocation.log.warning(
                LogEvent.LLM_BACKGROUND_AWAITED, error.message, code=error.code
            )
            raise AnswerPending(self.clock.now() + self.hooks.wait) from None
        # A write that fails here is not the end of the call: the next one carries the id too.
        with suppress(FirestoreUnavailable):
            await invocation.held.update(_unchanged)
        invocation.log.info(
            LogEvent.LLM_BACKGROUND_BEGUN, call=invocation.held.with_notes.llm_calls
        )
        return call

    def _announced(self, request: ModelRequest, invocation: Invocation) -> ModelRequest:
        """The request whose end is announced, where hooks are wanted."""
        if self.hooks is None:
            return request
        job = invocation.held.with_notes
        return replace(
            request,
            hook_url=hook_url(self.hooks, job, self.clock.now() + self.longest),
            labels=announced_labels(request.labels, job),
        )

    async def found(self, call_id: str, job: JobRecord) -> BackgroundCall | None:
        """The call that the job booked last, if it is the one that a hook names.

        Raises:
            StepError: the provider does not say.
        """
        kept = await self.model.describe(call_id, timeout_seconds=REQUEST_SECONDS)
        return own_call(call_id, kept, job, self.clock.now())

    def first_look_at(
        self, call: BackgroundCall, invocation: Invocation, *, until: datetime
    ) -> datetime:
        """When to look first for the answer to a call that has just begun.

        `until` is when the report should be there.
        """
        after = self.look_times.likely(invocation.model)
        if self.hooks is not None and self.look_times.hooks_come:
            after = unhurried(after, left=until - call.begun_at, longest=self.longest)
        look_at = call.begun_at + min(after, self.longest)
        return _in_time_to_stop(call, look_at, call.begun_at)

    async def looked(self, invocation: Invocation) -> Invocation:
        """The invocation that knows what became of the call that its job waits for, if any.

        Looking costs nothing. That a look fails, or is refused, says nothing about the call,
        which is paid for: its id is kept, and looked for again.

        Raises:
            AnswerPending: the model is still at work on it.
        """
        call = invocation.held.with_notes.interaction
        if call is None:
            return invocation
        return replace(invocation, call_end=await self._look(call, invocation))

    async def answer(self, call: BackgroundCall, invocation: Invocation) -> ModelAnswer:
        """The answer that was there when somebody looked.

        Raises:
            AnswerPending: nobody has looked, and it is not there.
            StepError: it will never be there; the call is forgotten, or Firestore did not
                answer.
            LeaseLost: another holder has the job.
        """
        end = invocation.call_end or await self._look(call, invocation)
        if isinstance(end, ModelAnswer):
            return end
        if end.ended is not None:
            # Under the lease, and first: another holder would wait for what is deleted here.
            await invocation.held.update(JobRecord.lose_answer)
            await self.forget(call, invocation.log, ended=end.ended)
        raise end.error

    async def forget(self, call: BackgroundCall, log: EventLogger, *, ended: bool) -> None:
        """Have the provider delete the call, if it can be done in a few seconds."""
        try:
            await self.model.forget(call.id, ended=ended, timeout_seconds=FORGET_SECONDS)
        except StepError as error:
            log.warning(
                LogEvent.LLM_BACKGROUND_DELETED,
                f"not deleted, it stays until it expires: {error.message}",
                interaction=call.id,
                code=error.code,
            )
        else:
            log.info(LogEvent.LLM_BACKGROUND_DELETED)

    async def _look(self, call: BackgroundCall, invocation: Invocation) -> CallEnd:
        """What the call has come to.

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
        raise AnswerPending(_in_time_to_stop(call, look_at, self.clock.now()))

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

    def _noted(
        self, call_id: str, request: ModelRequest, invocation: Invocation
    ) -> BackgroundCall:
        call = BackgroundCall(
            id=call_id,
            begun_at=self.clock.now(),
            input_digest=invocation.held.with_notes.input_digest or "",
            stop_at=request.stop_at,
        )
        invocation.held.note(lambda job: job.begin_in_background(call))
        return call

    async def _last_chance(
        self, beginning: "asyncio.Task[str]", request: ModelRequest, invocation: Invocation
    ) -> None:
        """Whoever stops us in the middle still writes the record: let it have the id."""
        with suppress(StepError, TimeoutError):
            async with asyncio.timeout(LAST_CHANCE_SECONDS):
                self._noted(await beginning, request, invocation)


def _in_time_to_stop(call: BackgroundCall, look_at: datetime, now: datetime) -> datetime:
    """When to look, so that a call is stopped when a dearer one must begin."""
    if call.stop_at is None or call.to_stop(now):
        return look_at
    return min(look_at, call.stop_at)


def _is_gone(call: BackgroundCall, now: datetime) -> bool:
    """Whether the provider has so often, and for so long, not known the call."""
    since = call.missing_since or now
    return call.missing_looks >= FORGOTTEN_LOOKS and now - since >= FORGOTTEN_AFTER


_A_MOMENT = timedelta(seconds=1)
_unchanged: Callable[[JobRecord], JobRecord] = lambda job: job  # noqa: E731
