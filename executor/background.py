"""Calls in the background: recorded before their answer is awaited, fetched by any holder.

The provider keeps the answer under an id. Once the id stands in the job record, no crash
makes a second call necessary: whoever takes the job next fetches the answer of the first.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn, assert_never

from executor.invocation import Invocation
from executor.ports import (
    BackgroundModel,
    CallFailed,
    CallForgotten,
    CallRunning,
    CallState,
    ModelAnswer,
    ModelRequest,
)
from shared.domain.errors import (
    FirestoreUnavailable,
    GeminiRequestFailed,
    RateLimited,
    StepError,
)
from shared.domain.jobs import BackgroundCall, JobRecord
from shared.events import Event, EventLogger
from shared.ports import Clock

#: The provider answers with an id, or with what has become of a call, at once.
REQUEST_SECONDS = 30.0
SHORTEST_LOOK_SECONDS = 1.0
#: How long an instance that is being stopped waits for the id of a call that it just began.
#: It has 10 seconds (https://cloud.google.com/run/docs/container-contract#instance-shutdown).
LAST_CHANCE_SECONDS = 4.0
#: Deleting is worth a little of the time that is kept for finalizing.
FORGET_SECONDS = 5.0
_SHORTEST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 10.0


class AnswerPending(Exception):
    """The model is still at work when the invocation must end: its successor asks again."""


def pause_seconds(so_far: timedelta) -> float:
    """How long to wait before asking again, after this much time at work.

    A tenth of it, so that an answer is noticed at most a tenth later than it could be.
    """
    share = so_far.total_seconds() / 10
    return min(max(share, _SHORTEST_PAUSE_SECONDS), _LONGEST_PAUSE_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackgroundCalls:
    """Begins calls in the background, and waits for their answers."""

    model: BackgroundModel
    clock: Clock
    #: After this long at work, a call is given up.
    longest: timedelta

    def resumable(self, record: JobRecord) -> BackgroundCall | None:
        """The call whose answer is the one wanted now: begun with these very inputs."""
        call = record.interaction
        return call if call and call.input_digest == record.input_digest else None

    async def begin(
        self, request: ModelRequest, work: Invocation, *, seconds: float
    ) -> BackgroundCall:
        """Have the model begin, and record the id under the lease.

        Raises:
            StepError: see the port.
            LeaseLost: another holder has the job.
        """
        beginning = asyncio.create_task(
            self.model.begin(request, timeout_seconds=min(REQUEST_SECONDS, seconds))
        )
        try:
            call = self._noted(await asyncio.shield(beginning), work)
        except asyncio.CancelledError:
            await self._last_chance(beginning, work)
            raise
        # A write that fails here is not the end of the call: the next one carries the id too.
        with suppress(FirestoreUnavailable):
            await work.held.update(_unchanged)
        work.log.info(Event.LLM_BACKGROUND_BEGUN, call=work.held.settled.llm_calls)
        return call

    async def answer(
        self, call: BackgroundCall, work: Invocation, *, give_back_at: float
    ) -> ModelAnswer:
        """The answer, as soon as it is there; asking for it costs nothing.

        Raises:
            AnswerPending: it is not there by `give_back_at`, on the monotonic clock.
            StepError: it will never be there; the call is forgotten, or Firestore did not
                answer.
            LeaseLost: another holder has the job.
        """
        while True:
            left = give_back_at - self.clock.monotonic()
            state, asked_pause = await self._look(call, work, seconds=left)
            match state:
                case ModelAnswer():
                    return state
                case CallFailed(error=error):
                    await self._give_up(call, error, work, ended=True)
                case CallForgotten():
                    raise GeminiRequestFailed(
                        "the provider does not know the call any more", maybe_billed=True
                    )
                case CallRunning() if self._at_work(call) > self.longest:
                    await self._give_up(call, self._overdue, work, ended=False)
                case CallRunning():
                    pause = max(asked_pause, pause_seconds(self._at_work(call)))
                case _:
                    assert_never(state)
            if self.clock.monotonic() + pause > give_back_at:
                raise AnswerPending
            await asyncio.sleep(pause)

    async def forget(self, call: BackgroundCall, log: EventLogger, *, ended: bool) -> None:
        """Have the provider delete the call, if it can be done in a few seconds."""
        try:
            await self.model.forget(call.id, ended=ended, timeout_seconds=FORGET_SECONDS)
        except StepError as error:
            log.warning(
                Event.LLM_BACKGROUND_DELETED,
                f"not deleted, it stays until it expires: {error.message}",
                interaction=call.id,
                code=error.code,
            )
        else:
            log.info(Event.LLM_BACKGROUND_DELETED)

    async def _look(
        self, call: BackgroundCall, work: Invocation, *, seconds: float
    ) -> tuple[CallState, float]:
        """What became of the call, and how long the provider wants not to be asked again.

        That it did not answer says nothing about the call.
        """
        try:
            timeout = min(REQUEST_SECONDS, max(SHORTEST_LOOK_SECONDS, seconds))
            state = await self.model.fetch(call.id, timeout_seconds=timeout)
        except (GeminiRequestFailed, RateLimited) as error:
            work.log.debug(Event.LLM_BACKGROUND_FETCH_STARTED, error.message, code=error.code)
            asked = error.retry_after or timedelta(0)
            return CallRunning(), asked.total_seconds()
        return state, 0.0

    def _at_work(self, call: BackgroundCall) -> timedelta:
        return self.clock.now() - call.begun_at

    @property
    def _overdue(self) -> GeminiRequestFailed:
        seconds = self.longest.total_seconds()
        return GeminiRequestFailed(f"no answer within {seconds:.0f} s", maybe_billed=True)

    async def _give_up(
        self, call: BackgroundCall, error: StepError, work: Invocation, *, ended: bool
    ) -> NoReturn:
        # Under the lease, and first: another holder would wait for what is deleted here.
        await work.held.update(JobRecord.lose_answer)
        await self.forget(call, work.log, ended=ended)
        raise error

    def _noted(self, call_id: str, work: Invocation) -> BackgroundCall:
        call = BackgroundCall(
            id=call_id,
            begun_at=self.clock.now(),
            input_digest=work.held.settled.input_digest or "",
        )
        work.held.note(lambda job: job.begin_in_background(call))
        return call

    async def _last_chance(self, beginning: "asyncio.Task[str]", work: Invocation) -> None:
        """Whoever stops us in the middle still writes the record: let it have the id."""
        with suppress(StepError, TimeoutError):
            async with asyncio.timeout(LAST_CHANCE_SECONDS):
                self._noted(await beginning, work)


_unchanged: Callable[[JobRecord], JobRecord] = lambda job: job  # noqa: E731
