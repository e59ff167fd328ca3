"""One call of the model: counted before it begins, charged when it has ended."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from executor.billing.bills import asked_tier, call_cost, tier_name
from executor.billing.labels import call_labels
from executor.billing.ledger import Reservation
from executor.billing.prices import usd
from executor.billing.usage import usage_tokens
from executor.jobs.invocation import Invocation
from executor.jobs.outcome import AnswerPending
from executor.model_calls.background import BackgroundCalls
from executor.model_calls.call_log import answered_call, failed_call, log_ended_call
from executor.model_calls.charging import Charges
from executor.model_calls.pacing import Pacing
from executor.model_calls.pools import request_pool
from executor.model_calls.tiers import TierPolicy
from executor.ports import LanguageModel, ModelAnswer, ModelRequest
from executor.settings import CallPolicy, ExecutorSettings
from shared.domain.attempts import CallPurpose, ModelCall
from shared.domain.errors import AttemptsExhausted, CallOutcomeUnknown, NoSlot, StepError
from shared.domain.jobs import BackgroundCall, JobRecord
from shared.log import LogEvent
from shared.ports import Clock

#: A call that gets less time than this is not begun: the Developer API itself refuses a
#: server timeout of less than 10 seconds.
SHORTEST_CALL_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CallMaker:
    """Makes calls for one job at a time, or fetches what a former attempt began."""

    model: LanguageModel
    #: Where there is one, calls are made in the background.
    background: BackgroundCalls | None = None
    clock: Clock
    settings: ExecutorSettings
    charges: Charges
    pacing: Pacing
    tiers: TierPolicy

    async def make(
        self, request: ModelRequest, purpose: CallPurpose, invocation: Invocation
    ) -> ModelAnswer:
        """The answer of one call.

        Raises:
            StepError: the call's error, or why it could not be begun.
            AnswerPending: the model is at work in the background.
            LeaseLost: another holder has the job.
        """
        self._seconds_left(invocation)
        begun = self.begun(purpose, invocation)
        call, reservation = await self._started(begun, request, purpose, invocation)
        job = invocation.held.record
        labels = call_labels(job.run_id, job.step_id, job.claim_id, call.number)
        request = replace(request, labels=labels)
        try:
            answer = await self._answer(begun, request, invocation)
        except StepError as error:
            await self._failed(call, error, reservation, invocation)
            raise
        except BaseException:
            # It goes on in the background, or is cut off with its invocation.
            self.charges.handed_over(reservation)
            raise
        answered = answered_call(call, answer)
        self._learn_size(answered, request)
        self.charges.ended(reservation, self._ended(answered, invocation))
        return answer

    def left(self, job: JobRecord) -> int:
        """How many more calls the budget allows."""
        return self.settings.limits.max_llm_calls - job.llm_calls

    def resumable(self, job: JobRecord) -> BackgroundCall | None:
        """The call of a former attempt whose answer is the one wanted now."""
        return self.background.resumable(job) if self.background else None

    def begun(self, purpose: CallPurpose, invocation: Invocation) -> BackgroundCall | None:
        """The call of a former attempt that is to be fetched instead of making a new one.

        A repair comes after an answer: the call that the record then knows is that answer's.
        """
        if purpose is not CallPurpose.REPORT:
            return None
        return self.resumable(invocation.held.with_notes)

    def resumed(self, begun: BackgroundCall, invocation: Invocation) -> ModelCall:
        """The call that was booked last, by this attempt or a former one."""
        record = invocation.held.with_notes
        known = [call for attempt in record.history for call in attempt.calls]
        return next(
            (call for call in reversed(known) if call.number == record.llm_calls),
            ModelCall(
                number=record.llm_calls, purpose=CallPurpose.REPORT, started_at=begun.begun_at
            ),
        )

    @property
    def shortest_seconds(self) -> float:
        """The shortest time that is given to a call, in seconds."""
        return min(SHORTEST_CALL_SECONDS, self.settings.gemini.timeout_seconds)

    def _seconds_left(self, invocation: Invocation) -> float:
        """How long a call may take that begins now.

        Raises:
            TimeBudgetExceeded: too short for any.
        """
        return invocation.seconds_for(
            self.settings.gemini.timeout_seconds, at_least=self.shortest_seconds
        )

    def _check_budget(self, invocation: Invocation) -> None:
        record = invocation.held.with_notes
        if self.left(record) <= 0:
            last = record.last_error
            raise AttemptsExhausted(
                f"the budget of {record.llm_calls} model calls is spent",
                details={"lastCode": last.code, "lastMessage": last.message} if last else None,
            )

    def _learn_size(self, call: ModelCall, request: ModelRequest) -> None:
        tokens = usage_tokens(call.usage)
        if tokens is not None:
            self.pacing.answered(request_pool(request), tokens.total)

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
            call = self.resumed(begun, invocation)
        else:
            self._check_budget(invocation)
            if purpose is CallPurpose.REPORT:
                await self._admitted(request, invocation)
            reservation = await self.charges.reserve(request, invocation)
            try:
                booked = await self._booked(purpose, invocation)
            except BaseException:
                self.charges.not_made(reservation)
                raise
            call = replace(booked, asked_tier=tier_name(request.service_tier))
        name = request.profile.model_name
        call = replace(call, model_name=name, cut_off_at=self._cut_off_at(invocation))
        invocation.held.note(partial(JobRecord.note_call, call=call))
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
            await self.pacing.admit(invocation.held.with_notes, request_pool(request))
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
        failed = self._ended(failed_call(call, error), invocation, error)
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
        invocation.held.note(partial(JobRecord.note_call, call=call))
        log_ended_call(call, error, invocation.log)
        return call
