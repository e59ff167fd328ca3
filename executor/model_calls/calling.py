"""Asking the model: again while that can end in time, and at a dearer tier where one must."""

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random

from executor.billing.bills import asked_tier
from executor.jobs.invocation import Invocation
from executor.jobs.outcome import AnswerLost
from executor.model_calls.one_call import CallMaker
from executor.model_calls.pacing import Pacing
from executor.model_calls.pools import request_pool
from executor.model_calls.tiers import TierPolicy, TierRefusals
from executor.ports import ModelAnswer, ModelRequest
from shared.domain.attempts import CallPurpose
from shared.domain.errors import (
    GeminiRequestFailed,
    NoSlot,
    RateLimited,
    StepError,
)
from shared.domain.jobs import BackgroundCall, JobRecord
from shared.guarded import Backoff
from shared.ports import Clock

#: Calls of one invocation for the same answer; further attempts come by redelivery.
MAX_TRIES = 3
BACKOFF = Backoff(first_seconds=1.0, longest_seconds=30.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCaller:
    """Asks the model for one job at a time, within the job's budget of calls and time."""

    calls: CallMaker
    clock: Clock
    random: Random
    pacing: Pacing
    tiers: TierPolicy

    async def ask(
        self, request: ModelRequest, purpose: CallPurpose, invocation: Invocation
    ) -> ModelAnswer:
        """The model's answer, whatever it is worth.

        Raises:
            StepError: the last call's error, or why no call could be begun.
            AnswerPending: the model is still at work in the background.
            LeaseLost: another holder has the job.
        """
        number, refusals = 0, TierRefusals()
        while True:
            number += 1
            request = self._at_tier(request, purpose, invocation, refusals)
            try:
                return await self.calls.make(request, purpose, invocation)
            except NoSlot:
                raise
            except StepError as error:
                refusals.learn(request.service_tier, error, self.clock.now())
                wait = await self._wait_seconds(error, number, request, purpose, invocation)
                if self._goes_dearer(request, purpose, invocation, refusals):
                    continue
                if wait is None or self._is_last(number, wait, invocation):
                    raise
            await asyncio.sleep(wait)

    def _at_tier(
        self,
        request: ModelRequest,
        purpose: CallPurpose,
        invocation: Invocation,
        refusals: TierRefusals,
    ) -> ModelRequest:
        """The request, at the service tier that is to be asked now."""
        begun = self.calls.begun(purpose, invocation)
        choice = self.tiers.choice(
            invocation,
            self.clock.now(),
            request=request,
            purpose=purpose,
            refusals=refusals,
            # A slot is good for one tier alone.
            at_least=self.pacing.slot_tier(
                invocation.held.with_notes, request.profile.model_name
            ),
        )
        return replace(
            request,
            service_tier=asked_tier(self.calls.resumed(begun, invocation))
            if begun
            else choice.tier,
            may_reach=choice.may_reach,
            stop_at=choice.stop_at,
        )

    def _goes_dearer(
        self,
        request: ModelRequest,
        purpose: CallPurpose,
        invocation: Invocation,
        refusals: TierRefusals,
    ) -> bool:
        """Whether the refused call is to be made at a dearer tier, and at once."""
        next_one = self._at_tier(request, purpose, invocation, refusals)
        return request.service_tier in refusals.until and next_one.service_tier.is_dearer(
            request.service_tier
        )

    def calls_left(self, job: JobRecord) -> int:
        """How many more calls the budget allows."""
        return self.calls.left(job)

    def resumable(self, job: JobRecord) -> BackgroundCall | None:
        """The call of a former attempt whose answer is the one wanted now."""
        return self.calls.resumable(job)

    async def looked(self, invocation: Invocation) -> Invocation:
        """The invocation that knows what became of the call that its job waits for, if any.

        Raises:
            AnswerPending: the model is still at work on it.
        """
        background = self.calls.background
        return invocation if background is None else await background.looked(invocation)

    async def _wait_seconds(
        self,
        error: StepError,
        number: int,
        request: ModelRequest,
        purpose: CallPurpose,
        invocation: Invocation,
    ) -> float | None:
        """The wait before another call here, in seconds; None when it is not to be made here.

        It is never less than the provider asked for. A repair is called for here or not at
        all: what it is to repair is known here alone.
        """
        if not isinstance(error, GeminiRequestFailed | RateLimited):
            return None
        if error.refused and purpose is CallPurpose.REPORT:
            wait = await self.pacing.refused(
                invocation.held.with_notes, request_pool(request), error
            )
            return None if wait is None else wait.total_seconds()
        asked = error.retry_after or timedelta(0)
        return asked.total_seconds() + BACKOFF.seconds(number, self.random)

    def _is_last(self, number: int, wait: float, invocation: Invocation) -> bool:
        """Whether another call after the wait would be one too many, or come too late.

        Nobody waits for a call in the background, so each that was lost ends an attempt: only
        attempts bound how often one is begun that costs nothing.
        """
        return (
            number >= MAX_TRIES
            or isinstance(invocation.call_end, AnswerLost)
            or self.calls.left(invocation.held.with_notes) <= 0
            or not invocation.deadline.allows(wait + self.calls.shortest_seconds)
        )
