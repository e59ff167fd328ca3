"""Calling the model: within the budgets of calls and time, and honest about the bill."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.billing.day import DayBudget
from executor.billing.ledger import SpendLedger
from executor.billing.prices import MicroUsd, parse_prices
from executor.contract.tiers import ServiceTier
from executor.jobs.deadline import Deadline
from executor.jobs.lease import LeaseLost
from executor.model_calls.calling import MAX_TRIES, ModelCaller
from executor.model_calls.charging import Charges
from executor.model_calls.one_call import SHORTEST_CALL_SECONDS, CallMaker
from executor.ports import ModelAnswer, ModelRequest
from executor.settings import CallPolicy, ExecutorSettings, read_settings
from shared.domain.attempts import CallPurpose
from shared.domain.documents import DocumentRef
from shared.domain.errors import (
    AttemptsExhausted,
    CallOutcomeUnknown,
    GeminiAccessDenied,
    GeminiRequestFailed,
    RateLimited,
    StepError,
    TimeBudgetExceeded,
)
from shared.domain.jobs import LastError
from tests.support.held_job import (
    LEASE,
    REQUEST,
    START,
    Documents,
    VirtualClock,
    held,
    invocation,
    pacing,
    queued,
    tier_policy,
    virtually,
)
from tests.support.worker import ANSWER

REFUSED = GeminiRequestFailed("503")
LOST = GeminiRequestFailed("cut off", maybe_billed=True)
LIMITED = RateLimited("429")
DENIED = GeminiAccessDenied("403")

#: How a call ends, and after how many seconds.
Played: TypeAlias = tuple[ModelAnswer | StepError, float]


@dataclass(slots=True)
class Model:
    """Implements the LanguageModel port by a script, whose last line is played for ever."""

    script: Sequence[Played] = ((ANSWER, 1.0),)
    #: When each call began, and when it had to end.
    calls: list[tuple[float, float]] = field(default_factory=list)
    tiers: list[ServiceTier] = field(default_factory=list)

    async def generate(self, request: ModelRequest, *, timeout_seconds: float) -> ModelAnswer:
        self.tiers.append(request.service_tier)
        now = asyncio.get_running_loop().time()
        self.calls.append((now, now + timeout_seconds))
        outcome, seconds = self.script[min(len(self.calls), len(self.script)) - 1]
        await asyncio.sleep(min(seconds, timeout_seconds))
        if seconds > timeout_seconds:
            raise LOST
        if isinstance(outcome, StepError):
            raise outcome
        return outcome


def settings(
    policy: CallPolicy = CallPolicy.AT_LEAST_ONCE, *, calls: int = 5, prices: str = "{}"
) -> ExecutorSettings:
    environ = {
        "GCP_PROJECT": "test",
        "DEAD_LETTER_TOPIC": "dead",
        "ARTIFACTS_BUCKET": "reports",
        "GEMINI_API_KEY": "none",
        "CALL_POLICY": policy,
        "MAX_LLM_CALLS": str(calls),
        "MODEL_PRICES": prices,
    }
    return read_settings(environ)


def caller(model: Model, configured: ExecutorSettings | None = None) -> ModelCaller:
    pace, clock = pacing(Documents()), VirtualClock()
    tiers = tier_policy(configured or settings())
    return ModelCaller(
        calls=CallMaker(
            model=model,
            clock=clock,
            settings=configured or settings(),
            charges=Charges(ledger=None),
            pacing=pace,
            tiers=tiers,
        ),
        clock=clock,
        random=Random(0),
        pacing=pace,
        tiers=tiers,
    )


def ask(model: Model, configured: ExecutorSettings | None = None) -> Documents:
    """Ask once, write a last time, and return the documents that are left."""
    documents = Documents()

    async def scene() -> None:
        job = await held(documents)
        try:
            await caller(model, configured).ask(REQUEST, CallPurpose.REPORT, invocation(job))
        finally:
            await job.update(lambda record: record)

    virtually(scene())
    return documents


def test_an_answer_is_one_call_booked_before_it_began() -> None:
    documents = Documents()
    booked: list[int] = []

    class Watching(Model):
        async def generate(
            self, request: ModelRequest, *, timeout_seconds: float
        ) -> ModelAnswer:
            stored = await documents.stored()
            booked.append(stored.llm_calls)
            assert stored.call_open
            return await super().generate(request, timeout_seconds=timeout_seconds)

    async def scene() -> ModelAnswer:
        job = await held(documents)
        return await caller(Watching()).ask(REQUEST, CallPurpose.REPORT, invocation(job))

    assert virtually(scene()) == ANSWER
    assert booked == [1]


@pytest.mark.parametrize("error", [REFUSED, LOST, LIMITED], ids=["refused", "lost", "limited"])
def test_what_may_pass_is_tried_again_within_the_invocation(error: StepError) -> None:
    model = Model([(error, 1.0), (ANSWER, 1.0)])

    ask(model)

    assert len(model.calls) == 2


def test_a_permanent_refusal_is_not_tried_again() -> None:
    model = Model([(DENIED, 1.0)])

    with pytest.raises(GeminiAccessDenied):
        ask(model)

    assert len(model.calls) == 1


def test_tries_are_few_however_much_time_is_left() -> None:
    model = Model([(REFUSED, 0.1)])

    with pytest.raises(GeminiRequestFailed):
        ask(model)

    assert len(model.calls) == MAX_TRIES


def test_the_budget_of_calls_that_may_be_billed_is_never_exceeded() -> None:
    model = Model([(LOST, 0.1)])

    with pytest.raises(GeminiRequestFailed):
        ask(model, settings(calls=2))

    assert len(model.calls) == 2


def test_a_spent_budget_is_said_with_the_error_that_spent_it() -> None:
    spent = replace(
        queued(), llm_calls=5, last_error=LastError(code="RATE_LIMITED", message="429")
    )
    model = Model()

    async def scene() -> None:
        job = await held(Documents(), spent)
        await caller(model).ask(REQUEST, CallPurpose.REPORT, invocation(job))

    with pytest.raises(AttemptsExhausted) as raised:
        virtually(scene())

    assert raised.value.details == {"lastCode": "RATE_LIMITED", "lastMessage": "429"}
    assert model.calls == []


@given(
    seconds=st.floats(1, 700),
    reserve_seconds=st.floats(0, 120),
    script=st.lists(
        st.tuples(
            st.sampled_from([REFUSED, LOST, LIMITED])
            | st.floats(0, 120).map(
                lambda s: RateLimited("429", retry_after=timedelta(seconds=s))
            ),
            st.floats(0, 500),
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_no_call_begins_that_cannot_end_before_the_time_to_finalize(
    seconds: float, reserve_seconds: float, script: list[Played]
) -> None:
    model = Model(script)

    async def scene() -> None:
        job = await held(Documents())
        work = invocation(job, seconds=seconds, reserve_seconds=reserve_seconds)
        keeping = asyncio.create_task(job.keep(LEASE / 3))
        try:
            await caller(model).ask(REQUEST, CallPurpose.REPORT, work)
        finally:
            keeping.cancel()

    with pytest.raises((GeminiRequestFailed, RateLimited, TimeBudgetExceeded)):
        virtually(scene())

    for began, ends_at in model.calls:
        assert ends_at <= max(seconds - reserve_seconds, 0) + 1e-6
        assert ends_at - began >= SHORTEST_CALL_SECONDS - 1e-6
    assert len(model.calls) <= MAX_TRIES


def test_a_holder_that_was_stopped_until_its_lease_expired_calls_nobody() -> None:
    model = Model()

    async def scene() -> None:
        job = await held(Documents(), reserve_call=True)
        await asyncio.sleep(LEASE.total_seconds())
        await caller(model).ask(REQUEST, CallPurpose.REPORT, invocation(job))

    with pytest.raises(LeaseLost):
        virtually(scene())

    assert model.calls == []


def test_a_slow_booking_takes_its_time_from_the_call() -> None:
    model = Model()

    async def scene() -> None:
        documents = Documents()
        job = await held(documents)
        documents.faults = ["slow"]
        work = invocation(job, seconds=30, reserve_seconds=10)
        await caller(model).ask(REQUEST, CallPurpose.REPORT, work)

    virtually(scene())
    assert model.calls == [(9, 20)]


def test_a_call_that_was_booked_too_late_is_not_made_and_costs_nothing() -> None:
    model, documents = Model(), Documents()

    async def scene() -> None:
        job = await held(documents)
        documents.faults = ["slow"]
        work = invocation(job, seconds=25, reserve_seconds=10)
        with pytest.raises(TimeBudgetExceeded):
            await caller(model).ask(REQUEST, CallPurpose.REPORT, work)
        await job.update(lambda record: record)

    virtually(scene())
    assert model.calls == []
    assert not virtually(documents.stored()).call_open


def test_a_refusal_that_comes_alone_and_asks_for_little_is_ridden_out() -> None:
    asked = RateLimited("429", retry_after=timedelta(seconds=4))
    model = Model([(asked, 1.0), (ANSWER, 1.0)])

    ask(model)

    [(first, _), (second, _)] = model.calls
    assert 5 <= second - first <= 8


@pytest.mark.parametrize("delay", [timedelta(seconds=42), timedelta(hours=1)])
def test_no_instance_waits_for_a_longer_delay(delay: timedelta) -> None:
    asked = RateLimited("429", retry_after=delay)
    model = Model([(asked, 1.0), (ANSWER, 1.0)])

    with pytest.raises(RateLimited) as raised:
        ask(model)

    assert raised.value.retry_after == delay
    assert len(model.calls) == 1


def test_a_second_refusal_is_taught_and_the_job_given_back() -> None:
    model = Model([(LIMITED, 1.0)])

    with pytest.raises(RateLimited):
        ask(model)

    assert len(model.calls) == 2


def test_a_call_that_was_refused_counts_as_none() -> None:
    documents = Documents()

    async def scene() -> None:
        job = await held(documents)
        with pytest.raises(RateLimited):
            await caller(Model([(LIMITED, 1.0)])).ask(
                REQUEST, CallPurpose.REPORT, invocation(job)
            )
        await job.update(lambda record: record)

    virtually(scene())
    stored = virtually(documents.stored())
    assert (stored.llm_calls, stored.refusals, stored.call_open) == (0, 2, False)
    assert stored.history[0].calls == ()


def test_a_repair_that_is_refused_may_be_made_again_later() -> None:
    documents = Documents()

    async def scene() -> None:
        job = await held(documents)
        with pytest.raises(RateLimited):
            await caller(Model([(LIMITED, 1.0)])).ask(
                REQUEST, CallPurpose.REPAIR, invocation(job)
            )
        await job.update(lambda record: record)

    virtually(scene())
    stored = virtually(documents.stored())
    assert (stored.llm_calls, stored.repair_used) == (0, False)


@pytest.mark.parametrize(
    ("error", "open_call"), [(REFUSED, False), (LIMITED, False), (LOST, True), (DENIED, False)]
)
def test_the_record_knows_whether_a_failed_call_may_be_billed(
    error: StepError, *, open_call: bool
) -> None:
    documents = Documents()

    async def scene() -> None:
        job = await held(documents)
        try:
            work = invocation(job, seconds=75)
            await caller(Model([(error, 9.0)])).ask(REQUEST, CallPurpose.REPORT, work)
        except StepError:
            await job.update(lambda record: record)

    virtually(scene())
    stored = virtually(documents.stored())
    assert stored.call_open is open_call
    # Of refused calls, only the number is remembered.
    codes = [call.code for call in stored.history[0].calls]
    assert codes == ([] if error.refused else [error.code])


def test_one_call_is_the_most_where_its_outcome_is_unknown() -> None:
    model = Model([(LOST, 1.0), (ANSWER, 1.0)])

    with pytest.raises(CallOutcomeUnknown, match="call 1: cut off"):
        ask(model, settings(CallPolicy.AT_MOST_ONCE))

    assert len(model.calls) == 1


def test_one_call_is_not_the_most_where_the_first_cost_nothing() -> None:
    model = Model([(REFUSED, 1.0), (LIMITED, 1.0), (ANSWER, 1.0)])

    documents = ask(model, settings(CallPolicy.AT_MOST_ONCE))

    assert len(model.calls) == 3
    assert virtually(documents.stored()).llm_calls == 1


def test_every_call_is_remembered_with_its_usage() -> None:
    stored = virtually(ask(Model([(LOST, 1.0), (ANSWER, 2.0)])).stored())

    first, second = stored.history[0].calls
    assert (first.number, first.code, first.usage) == (1, "GEMINI_REQUEST_FAILED", None)
    assert (second.number, second.code, second.usage) == (2, None, ANSWER.usage)
    assert second.ended_at is not None
    assert second.ended_at - second.started_at == timedelta(seconds=2)
    assert json.dumps(ANSWER.text) not in repr(stored)


@pytest.mark.parametrize(
    ("seconds", "cut_off_after"),
    [(1_000, 480), (100, 80)],
    ids=["by its own limit", "by the invocation"],
)
def test_a_call_says_beforehand_when_it_is_given_up(seconds: int, cut_off_after: int) -> None:
    documents = Documents()

    async def scene() -> datetime | None:
        job = await held(documents)
        work = invocation(job, seconds=seconds, reserve_seconds=20)
        asking = asyncio.create_task(
            caller(Model([(ANSWER, 50.0)])).ask(REQUEST, CallPurpose.REPORT, work)
        )
        await asyncio.sleep(40)
        await job.update(lambda record: record)
        [under_way] = (await documents.stored()).history[0].calls
        await asking
        assert under_way.ended_at is None
        return under_way.cut_off_at

    assert virtually(scene()) == START + timedelta(seconds=cut_off_after)


PRICES = json.dumps(
    {REQUEST.profile.model_name: [{"from": "2020-01-01", "input": 1, "output": 10}]}
)


def test_a_call_that_has_ended_says_what_it_cost() -> None:
    usage = {"promptTokenCount": 2, "candidatesTokenCount": 1, "totalTokenCount": 3}
    served = replace(ANSWER, model_version=REQUEST.profile.model_name, usage=usage)
    script: Sequence[Played] = [(REFUSED, 1.0), (LOST, 1.0), (served, 1.0)]

    stored = virtually(ask(Model(script), settings(prices=PRICES)).stored())

    # The refused call is free, nobody knows the cost of the lost one, and the answered one
    # costs what its tokens cost.
    refused, lost, answered = (call.cost_usd for call in stored.history[0].calls)
    assert (refused, lost, answered) == (0, None, 0.000012)


def test_without_a_price_nothing_is_said_of_what_an_answer_cost() -> None:
    stored = virtually(ask(Model()).stored())

    assert [call.cost_usd for call in stored.history[0].calls] == [None]


def tiered(*, calls: int = 5) -> ExecutorSettings:
    """Settings as for calls in the background. Only those may be slow; here no call is."""
    configured = settings(calls=calls)
    tiers = (ServiceTier.FLEX, ServiceTier.STANDARD, ServiceTier.PRIORITY)
    return replace(configured, gemini=replace(configured.gemini, service_tiers=tiers))


def test_the_cheapest_tier_is_asked_and_its_name_kept() -> None:
    model = Model()

    documents = ask(model, tiered())

    assert model.tiers == [ServiceTier.FLEX]
    [call] = asyncio.run(documents.stored()).history[0].calls
    assert call.asked_tier == "flex"


def test_where_a_tier_does_not_exist_the_next_one_is_asked_at_once() -> None:
    model = Model([(DENIED, 1.0), (ANSWER, 1.0)])

    documents = ask(model, tiered())

    assert model.tiers == [ServiceTier.FLEX, ServiceTier.STANDARD]
    # The second call follows the first at once, and the free one is not counted.
    assert model.calls[1][0] == pytest.approx(model.calls[0][0] + 1.0)
    assert asyncio.run(documents.stored()).llm_calls == 1


def test_what_every_tier_refuses_is_what_the_dearest_one_says() -> None:
    model = Model([(DENIED, 1.0)])

    with pytest.raises(GeminiAccessDenied):
        ask(model, tiered())

    assert model.tiers == [ServiceTier.FLEX, ServiceTier.STANDARD, ServiceTier.PRIORITY]


def test_a_day_s_quota_of_a_cheap_tier_is_not_waited_for() -> None:
    spent = RateLimited("429", retry_after=timedelta(hours=20))
    model = Model([(spent, 1.0), (ANSWER, 1.0)])

    ask(model, tiered())

    assert model.tiers == [ServiceTier.FLEX, ServiceTier.STANDARD]


def test_a_refusal_that_may_pass_is_waited_for_at_the_same_tier() -> None:
    busy = GeminiRequestFailed("503", refused=True)
    model = Model([(busy, 1.0), (busy, 1.0)])

    with pytest.raises(GeminiRequestFailed) as refused:
        ask(model, tiered())

    assert set(model.tiers) == {ServiceTier.FLEX}
    assert refused.value.asked_tier == "flex"


@dataclass(slots=True)
class Day:
    """A day's ceiling on documents of its own, and what its account says."""

    documents: Documents = field(default_factory=Documents)
    charges: Charges = field(init=False)

    def __post_init__(self) -> None:
        clock, random = VirtualClock(), Random(0)
        price = [{"from": "2026-01-01", "input": 0, "output": 1}]
        self.charges = Charges(
            ledger=SpendLedger(
                documents=self.documents,
                clock=clock,
                random=random,
                prices=parse_prices(json.dumps({REQUEST.profile.model_name: price})),
                per_run=None,
                day=DayBudget(
                    documents=self.documents,
                    clock=clock,
                    random=random,
                    ceiling=MicroUsd(10**9),
                    holder="here",
                ),
            )
        )

    def caller(self, model: Model) -> ModelCaller:
        """A caller whose calls are charged here."""
        asking = caller(model)
        return replace(asking, calls=replace(asking.calls, charges=self.charges))

    @property
    def request(self) -> ModelRequest:
        """A request whose worst case is known."""
        profile = REQUEST.profile.model_copy(update={"max_output_tokens": 1_000})
        return replace(REQUEST, profile=profile)

    async def at_rest(self) -> tuple[int, int]:
        """What was spent, and how many slices are out, once all has been settled."""
        clock = VirtualClock()
        deadline = Deadline(clock=clock, ends_at=clock.monotonic() + 60, reserve_seconds=0)
        assert self.charges.ledger is not None
        await self.charges.ledger.settle(queued(), deadline)
        ref = DocumentRef("llm_spend", f"day~{START.date()}")
        [found] = await self.documents.inner.read([ref], timeout_seconds=1)
        assert found is not None
        return found.data["spentMicroUsd"], len(found.data["slices"])


def test_a_call_that_could_not_be_booked_holds_nothing_under_the_day_s_ceiling() -> None:
    async def scene() -> tuple[int, int]:
        day, documents = Day(), Documents()
        job = await held(documents)
        await documents.stolen()
        with pytest.raises(LeaseLost):
            await day.caller(Model()).ask(day.request, CallPurpose.REPORT, invocation(job))
        return await day.at_rest()

    assert virtually(scene()) == (0, 0)


def test_a_call_that_is_cut_off_with_its_invocation_is_paid_for_in_full() -> None:
    async def scene() -> tuple[int, int]:
        day = Day()
        job = await held(Documents())
        work = day.caller(Model([(ANSWER, 100.0)])).ask(
            day.request, CallPurpose.REPORT, invocation(job)
        )
        task = asyncio.create_task(work)
        await asyncio.sleep(10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await day.at_rest()

    assert virtually(scene()) == (1_000, 0)
