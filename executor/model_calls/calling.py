"""Calling the model: booked before it begins, retried while that can end in time."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from random import Random

from executor.billing.bills import asked_tier, call_cost
from executor.billing.labels import call_labels
from executor.billing.ledger import Reservation
from executor.billing.prices import usd
from executor.billing.usage import usage_tokens
from executor.contract.tiers import ServiceTier
from executor.jobs.invocation import Invocation
from executor.jobs.outcome import AnswerLost, AnswerPending
from executor.model_calls.background import BackgroundCalls
from executor.model_calls.call_log import log_ended_call
from executor.model_calls.charging import Charges
from executor.model_calls.pacing import Pacing
from executor.model_calls.pools import Pool
from executor.model_calls.tiers import TierPolicy, TierRefusals
from executor.ports import LanguageModel, ModelAnswer, ModelRequest
from executor.settings import CallPolicy, ExecutorSettings
from shared.domain.attempts import CallPurpose, ModelCall
from shared.domain.errors import (
    AttemptsExhausted,
    CallOutcomeUnknown,
    GeminiRequestFailed,
    NoSlot,
    RateLimited,
    ServedCall,
    StepError,
)
from shared.domain.jobs import BackgroundCall, JobRecord
from shared.guarded import Backoff
from shared.log import LogEvent
from shared.ports import Clock

#: Calls of one invocation for the same answer; further attempts come by redelivery.
MAX_TRIES = 3
BACKOFF = Backoff(first_seconds=1.0, longest_seconds=30.0)
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
                return await self._call(request, purpose, invocation)
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
        job = invocation.held.with_notes
        begun = self.resumable(job) if purpose is CallPurpose.REPORT else None
        choice = self.tiers.choice(
            invocation,
            self.clock.now(),
            request=request,
            purpose=purpose,
            refusals=refusals,
            # A slot is good for one tier alone.
            at_least=self.pacing.slot_tier(job, request.profile.model_name),
        )
        return replace(
            request,
            service_tier=asked_tier(self._resumed(begun, invocation)) if begun else choice.tier,
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
        return self.settings.limits.max_llm_calls - job.llm_calls

    async def looked(self, invocation: Invocation) -> Invocation:
        """The invocation that knows what became of the call that its job waits for, if any.

        Raises:
            AnswerPending: the model is still at work on it.
        """
        if self.background is None:
            return invocation
        return await self.background.looked(invocation)

    def resumable(self, job: JobRecord) -> BackgroundCall | None:
        """The call of a former attempt whose answer is the one wanted now."""
        return self.background.resumable(job) if self.background else None

    def _check_budget(self, invocation: Invocation) -> None:
        record = invocation.held.with_notes
        if self.calls_left(record) <= 0:
            last = record.last_error
            raise AttemptsExhausted(
                f"the budget of {record.llm_calls} model calls is spent",
                details={"lastCode": last.code, "lastMessage": last.message} if last else None,
            )

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
            wait = await self.pacing.refused(invocation.held.with_notes, _pool(request), error)
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
            or self.calls_left(invocation.held.with_notes) <= 0
            or not invocation.deadline.allows(wait + self._shortest_call_seconds)
        )

    @property
    def _shortest_call_seconds(self) -> float:
        return min(SHORTEST_CALL_SECONDS, self.settings.gemini.timeout_seconds)

    def _seconds_left(self, invocation: Invocation) -> float:
        """How long a call may take that begins now.

        Raises:
            TimeBudgetExceeded: too short for any.
        """
        return invocation.seconds_for(
            self.settings.gemini.timeout_seconds, at_least=self._shortest_call_seconds
        )

    async def _call(
        self, request: ModelRequest, purpose: CallPurpose, invocation: Invocation
    ) -> ModelAnswer:
        self._seconds_left(invocation)
        # A repair comes after an answer: what the record then knows of is that one's call.
        begun = (
            self.resumable(invocation.held.with_notes)
            if purpose is CallPurpose.REPORT
            else None
        )
        call, reservation = await self._started(begun, request, purpose, invocation)
        request = replace(request, labels=_labels(invocation.held.record, call))
        try:
            answer = await self._answer(begun, request, invocation)
        except AnswerPending:
            self.charges.handed_over(reservation)
            raise
        except StepError as error:
            await self._failed(call, error, reservation, invocation)
            raise
        answered = replace(
            call,
            finish_reason=answer.finish_reason,
            model_version=answer.model_version,
            service_tier=answer.service_tier,
            usage=answer.usage,
        )
        self._learn_size(answered, request)
        self.charges.ended(reservation, self._ended(answered, invocation))
        return answer

    def _learn_size(self, call: ModelCall, request: ModelRequest) -> None:
        tokens = usage_tokens(call.usage)
        if tokens is not None:
            self.pacing.answered(_pool(request), tokens.total)

    async def _started(
        self,
        begun: BackgroundCall | None,
        request: ModelRequest,
        purpose: CallPurpose,
        invocation: Invocation,
    ) -> tuple[ModelCall, Reservation | None]:
        """The call, counted and with its cost reserved: a new one, or the one begun before."""
        if begun:
            reservation = self.charges.standing(request, begun, invocation)
            call = self._resumed(begun, invocation)
        else:
            self._check_budget(invocation)
            if purpose is CallPurpose.REPORT:
                await self._admitted(request, invocation)
            reservation = await self.charges.reserve(request, invocation)
            call = replace(
                await self._booked(purpose, invocation), asked_tier=_named(request.service_tier)
            )
        name = request.profile.model_name
        call = replace(call, model_name=name, cut_off_at=self._cut_off_at(invocation))
        invocation.held.note(_noted(call))
        invocation.log.info(
            LogEvent.LLM_REQUEST_STARTED,
            modelName=name,
            call=call.number,
            resumed=bool(begun),
            serviceTier=call.asked_tier,
        )
        return call, reservation

    def _cut_off_at(self, invocation: Invocation) -> datetime | None:
        """When a call that begins now is given up; None for one that goes on without us."""
        if self.background is not None:
            return None
        seconds = min(self.settings.gemini.timeout_seconds, invocation.deadline.available())
        return self.clock.now() + timedelta(seconds=seconds)

    async def _admitted(self, request: ModelRequest, invocation: Invocation) -> None:
        """Wait for no slot: without one, the job stands in the queue of the tier.

        Raises:
            NoSlot: the job is to wait.
        """
        try:
            await self.pacing.admit(invocation.held.with_notes, _pool(request))
        except NoSlot as error:
            error.asked_tier = str(request.service_tier)
            raise

    async def _failed(
        self,
        call: ModelCall,
        error: StepError,
        reservation: Reservation | None,
        invocation: Invocation,
    ) -> None:
        error.asked_tier = str(asked_tier(call))
        failed = self._ended(_failed_call(call, error), invocation, error)
        self.charges.ended(reservation, failed)
        if error.refused:
            invocation.held.note(partial(JobRecord.call_refused, purpose=call.purpose))
            return
        if not error.maybe_billed:
            billed = error.served is not None
            free = JobRecord.call_was_billed if billed else JobRecord.call_cost_nothing
            invocation.held.note(partial(free, purpose=call.purpose))
            return
        invocation.held.note(JobRecord.lose_answer)
        if error.retryable and self.settings.call_policy is CallPolicy.AT_MOST_ONCE:
            raise CallOutcomeUnknown(f"call {call.number}: {error.message}") from None

    async def _booked(self, purpose: CallPurpose, invocation: Invocation) -> ModelCall:
        """One more call, counted before it begins."""
        former = invocation.held.with_notes.interaction
        await invocation.held.book_llm_call(purpose)
        if former and self.background:
            answered = purpose is CallPurpose.REPAIR
            await self.background.forget(former, invocation.log, ended=answered)
            invocation.held.check_unexpired()
        return ModelCall(
            number=invocation.held.with_notes.llm_calls,
            purpose=purpose,
            started_at=self.clock.now(),
        )

    def _resumed(self, begun: BackgroundCall, invocation: Invocation) -> ModelCall:
        """The call that was booked last, by this attempt or a former one."""
        record = invocation.held.with_notes
        known = [call for attempt in record.history for call in attempt.calls]
        return next(
            (call for call in reversed(known) if call.number == record.llm_calls),
            ModelCall(
                number=record.llm_calls, purpose=CallPurpose.REPORT, started_at=begun.begun_at
            ),
        )

    async def _answer(
        self, begun: BackgroundCall | None, request: ModelRequest, invocation: Invocation
    ) -> ModelAnswer:
        # The time that is left is asked for anew: booking took a while.
        if self.background is None:
            return await self.model.generate(
                request, timeout_seconds=self._seconds_left(invocation)
            )
        if begun is None:
            seconds = self._seconds_left(invocation)
            call = await self.background.begin(request, invocation, seconds=seconds)
            until = self.tiers.until(invocation)
            raise AnswerPending(self.background.first_look_at(call, invocation, until=until))
        return await self.background.answer(begun, invocation)

    def _ended(
        self, call: ModelCall, invocation: Invocation, error: StepError | None = None
    ) -> ModelCall:
        """The call that has ended now, noted and logged."""
        call = replace(call, ended_at=self.clock.now())
        cost = call_cost(call, self.settings.prices)
        call = replace(call, cost_usd=None if cost is None else usd(cost))
        invocation.held.note(_noted(call))
        log_ended_call(call, error, invocation.log)
        return call


def _pool(request: ModelRequest) -> Pool:
    return Pool(request.profile.model_name, request.service_tier)


def _named(tier: ServiceTier) -> str | None:
    """The tier as a record keeps it: the usual one needs no word."""
    return None if tier is ServiceTier.STANDARD else str(tier)


def _labels(job: JobRecord, call: ModelCall) -> Mapping[str, str]:
    return call_labels(job.run_id, job.step_id, job.claim_id, call.number)


def _noted(call: ModelCall) -> Callable[[JobRecord], JobRecord]:
    return lambda job: job.note_call(call)


def _failed_call(call: ModelCall, error: StepError) -> ModelCall:
    served = error.served or ServedCall()
    return replace(
        call,
        code=str(error.code),
        maybe_billed=error.maybe_billed,
        model_version=served.model_version,
        service_tier=served.service_tier,
        usage=served.usage,
    )
