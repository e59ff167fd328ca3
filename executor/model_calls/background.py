"""Calls in the background: begun, recorded, left alone, and fetched by a later invocation.

The provider keeps the answer under an id. Once the id stands in the job record, no crash
makes a second call necessary: the next holder of the job fetches the answer of the first.
Nobody waits for it: the job is given back with a time at which to look.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from executor.jobs.invocation import Invocation
from executor.jobs.outcome import AnswerPending
from executor.model_calls.hooks import announced_labels, hook_url, own_call
from executor.model_calls.looks import unhurried
from executor.model_calls.watching import REQUEST_SECONDS, CallWatcher, in_time_to_stop
from executor.ports import (
    BackgroundModel,
    ModelAnswer,
    ModelRequest,
)
from executor.settings import HookSettings
from shared.domain.errors import FirestoreUnavailable, StepError
from shared.domain.jobs import BackgroundCall, JobRecord
from shared.log import EventLogger, LogEvent
from shared.ports import Clock

#: How long an instance that is being stopped waits for the id of a call that it just began.
#: It has 10 seconds (https://cloud.google.com/run/docs/container-contract#instance-shutdown).
LAST_CHANCE_SECONDS = 4.0
#: Deleting is worth a little of the time that is kept for finalizing.
FORGET_SECONDS = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BackgroundCalls:
    """Begins calls in the background, and fetches their answers."""

    model: BackgroundModel
    clock: Clock
    watcher: CallWatcher
    #: Where the end of a call is announced, if anywhere.
    hooks: HookSettings | None = None

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
            hook_url=hook_url(self.hooks, job, self.clock.now() + self.watcher.longest),
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
        look_times, longest = self.watcher.look_times, self.watcher.longest
        after = look_times.likely(invocation.model)
        if self.hooks is not None and look_times.hooks_come:
            after = unhurried(after, left=until - call.begun_at, longest=longest)
        look_at = call.begun_at + min(after, longest)
        return in_time_to_stop(call, look_at, call.begun_at)

    async def looked(self, invocation: Invocation) -> Invocation:
        """The invocation that knows what became of the call that its job waits for, if any.

        Looking costs nothing.

        Raises:
            AnswerPending: the model is still at work on it.
        """
        call = invocation.held.with_notes.interaction
        if call is None:
            return invocation
        return replace(invocation, call_end=await self.watcher.look(call, invocation))

    async def answer(self, call: BackgroundCall, invocation: Invocation) -> ModelAnswer:
        """The answer that was there when somebody looked.

        Raises:
            AnswerPending: nobody has looked, and it is not there.
            StepError: it will never be there; the call is forgotten, or Firestore did not
                answer.
            LeaseLost: another holder has the job.
        """
        end = invocation.call_end or await self.watcher.look(call, invocation)
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
        """Wait a little for the id, where the invocation is stopped before it has come.

        The job is given back with one more write of its record, which then holds the id.
        """
        with suppress(StepError, TimeoutError):
            async with asyncio.timeout(LAST_CHANCE_SECONDS):
                self._noted(await beginning, request, invocation)


_unchanged: Callable[[JobRecord], JobRecord] = lambda job: job  # noqa: E731
