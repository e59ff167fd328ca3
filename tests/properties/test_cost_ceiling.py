"""No ceiling is passed, with many executors at once, lost answers, and deaths anywhere."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.billing.accounts import Account, parse_account
from executor.billing.day import DayBudget
from executor.billing.escrow import SLICE_LASTS, DayAccount, parse_day
from executor.billing.ledger import SpendLedger
from executor.billing.prices import MicroUsd, Price
from executor.contract.profile import parse_profile
from executor.jobs.deadline import Deadline
from executor.ports import ModelRequest
from infra.local.embedded.documents import EmbeddedDocuments
from shared.domain.documents import DocumentRef
from shared.domain.errors import CostCeilingExceeded, CostCeilingHeld, FirestoreUnavailable
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.jobs import JobRecord, JobState
from tests.support.adverse_store import NOW, Adversary, NoWait, Still

RUN = RunId("20260105-090000_BTCUSD_one")
WORST_CASE = 10
#: The input of every call is free, and one token of output costs a millionth.
PRICE = Price(
    valid_from=NOW.date(),
    input=Decimal(0),
    output=Decimal(1),
    cached=Decimal(0),
    thought=Decimal(1),
)
REQUEST = ModelRequest(
    profile=parse_profile(
        {
            "modelName": "gemini-a",
            "maxOutputTokens": WORST_CASE,
            "structuredOutput": {
                "schemaId": "llm_schema_1m_report_v1_0",
                "kind": "LLM_REPORT_OUTPUT",
            },
        }
    ),
    system_instruction="",
    user_text="",
    images=(),
    json_schema={},
)


@dataclass(slots=True)
class Provider:
    """Bills the calls, and knows at every moment what was really spent."""

    ceiling: int
    billed: int = 0
    under_way: int = 0

    def begin(self) -> None:
        self.under_way += WORST_CASE
        assert self.billed + self.under_way <= self.ceiling

    def end(self, cost: int) -> None:
        self.under_way -= WORST_CASE
        self.billed += cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one executor's calls cost; at a None, it dies in the middle of the call."""

    step: int
    costs: Sequence[int | None] = field(default_factory=list)


def job(step: int, calls: int) -> JobRecord:
    return JobRecord(
        run_id=RUN,
        step_id=StepId(f"step-{step}"),
        claim_id=ClaimId("claim"),
        event_id="event",
        claimed_at=NOW,
        state=JobState.RUNNING,
        llm_calls=calls,
    )


DEADLINE = Deadline(clock=Still(), ends_at=1_000.0, reserve_seconds=0.0)


def ledger(documents: Adversary, *, ceiling: int, holder: str = "a") -> SpendLedger:
    return SpendLedger(
        documents=documents,
        clock=Still(),
        random=NoWait(),
        prices={"gemini-a": [PRICE]},
        per_run=MicroUsd(ceiling),
        day=DayBudget(
            documents=documents,
            clock=Still(),
            random=NoWait(),
            ceiling=MicroUsd(ceiling + 3),
            holder=holder,
        ),
    )


async def execute(plan: Plan, spending: SpendLedger, provider: Provider) -> None:
    """Make the calls of one executor, and settle; where it dies, its process dies."""
    calls = 0
    for cost in plan.costs:
        try:
            reservation = await spending.reserve(REQUEST, job(plan.step, calls), DEADLINE)
        except (CostCeilingExceeded, FirestoreUnavailable):
            continue
        calls += 1
        provider.begin()
        await asyncio.sleep(0)
        if cost is None:
            # The provider worked all the same, and the caller never learned of it.
            provider.end(WORST_CASE)
            return
        provider.end(cost)
        spending.charge(reservation, MicroUsd(cost))
        spending.charge(reservation, MicroUsd(cost))
    with suppress(FirestoreUnavailable):
        await spending.settle(job(plan.step, calls), DEADLINE)


async def total_of_run(documents: EmbeddedDocuments) -> int:
    ref = DocumentRef("llm_spend", f"run~{RUN}")
    [found] = await documents.read([ref], timeout_seconds=1)
    return parse_account(found.data if found else None, scope="run", ceiling=None).total


async def day_account(documents: EmbeddedDocuments, now: datetime = NOW) -> DayAccount:
    ref = DocumentRef("llm_spend", f"day~{NOW.date()}")
    [found] = await documents.read([ref], timeout_seconds=1)
    return parse_day(found.data if found else None, ceiling=MicroUsd(0), now=now)


async def total_of_day(documents: EmbeddedDocuments) -> int:
    account = await day_account(documents)
    return account.spent + account.held_by_others("")


@given(
    ceiling=st.integers(0, 60),
    plans=st.lists(
        st.lists(st.none() | st.integers(0, WORST_CASE), min_size=1, max_size=3),
        min_size=1,
        max_size=6,
    ),
    script=st.lists(st.integers(0, 255), max_size=200),
)
def test_no_interleaving_spends_past_the_ceiling(
    ceiling: int, plans: list[list[int | None]], script: list[int]
) -> None:
    async def run() -> None:
        store = EmbeddedDocuments()
        adversary = Adversary(store, iter(script))
        provider = Provider(ceiling)
        await asyncio.gather(
            *(
                execute(
                    Plan(step=step, costs=costs),
                    ledger(adversary, ceiling=ceiling, holder=str(step)),
                    provider,
                )
                for step, costs in enumerate(plans)
            )
        )
        assert provider.billed <= await total_of_run(store) <= ceiling
        assert provider.billed <= await total_of_day(store) <= ceiling + 3
        # What dead executors left expires, and then it counts as spent.
        rest = await day_account(store, NOW + SLICE_LASTS)
        assert rest.slices == {}
        assert provider.billed <= rest.spent <= ceiling + 3

    asyncio.run(run())


# No cost is zero here: a call that costs nothing is taken off the count of booked calls.
@given(
    costs=st.lists(st.integers(1, WORST_CASE), min_size=1, max_size=8),
    executors=st.integers(1, 4),
)
def test_nothing_is_left_reserved_and_the_bill_is_exact_where_nobody_dies(
    costs: list[int], executors: int
) -> None:
    async def run() -> None:
        store = EmbeddedDocuments()
        adversary = Adversary(store, iter(()))
        provider = Provider(10_000)
        await asyncio.gather(
            *(
                execute(
                    Plan(step=step, costs=costs),
                    ledger(adversary, ceiling=10_000, holder=str(step)),
                    provider,
                )
                for step in range(executors)
            )
        )
        account = await day_account(store)
        assert (account.spent, account.slices) == (provider.billed, {})
        assert await total_of_run(store) == provider.billed

    asyncio.run(run())


@given(st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(0, 9)), max_size=20))
def test_settling_twice_and_reserving_twice_change_nothing(
    acts: list[tuple[str, int | None]],
) -> None:
    account = Account(scope="run", ceiling=MicroUsd(1_000))
    for call, cost in acts:
        reserved = account.reserve(call, MicroUsd(9))
        assert reserved.reserve(call, MicroUsd(9)) == reserved
        charged = reserved.charge(call, None if cost is None else MicroUsd(cost))
        assert charged.charge(call, MicroUsd(5)) == charged
        assert charged.total <= reserved.total
        account = charged


async def test_what_a_dead_holder_left_is_settled_by_the_next_one_in_full() -> None:
    store = EmbeddedDocuments()
    adversary = Adversary(store, iter(()))
    await ledger(adversary, ceiling=100).reserve(REQUEST, job(1, 0), DEADLINE)

    await ledger(adversary, ceiling=100, holder="b").reserve(REQUEST, job(1, 1), DEADLINE)

    [run] = await store.read([DocumentRef("llm_spend", f"run~{RUN}")], timeout_seconds=1)
    assert run is not None
    assert run.data["spentMicroUsd"] == WORST_CASE
    assert list(run.data["reservedMicroUsd"].values()) == [WORST_CASE]


async def test_a_refusal_holds_nothing_and_gives_the_figures() -> None:
    store = EmbeddedDocuments()
    spending = ledger(Adversary(store, iter(())), ceiling=15)
    first = await spending.reserve(REQUEST, job(1, 0), DEADLINE)
    spending.charge(first, MicroUsd(7))
    await spending.settle(job(1, 1), DEADLINE)

    with pytest.raises(CostCeilingExceeded) as refused:
        await spending.reserve(REQUEST, job(2, 0), DEADLINE)
    await spending.settle(job(2, 0), DEADLINE)

    assert refused.value.details == {
        "scope": "run",
        "ceilingUsd": 0.000015,
        "spentUsd": 0.000007,
        "reservedUsd": 0.0,
        "neededUsd": 0.00001,
    }
    assert await total_of_run(store) == 7
    assert await total_of_day(store) == 7


async def test_what_calls_under_way_may_leave_is_waited_for() -> None:
    store = EmbeddedDocuments()
    adversary = Adversary(store, iter(()))
    one, other = (ledger(adversary, ceiling=15, holder=name) for name in "ab")
    one, other = (replace(each, per_run=None) for each in (one, other))
    first = await one.reserve(REQUEST, job(1, 0), DEADLINE)

    with pytest.raises(CostCeilingHeld):
        await other.reserve(REQUEST, job(2, 0), DEADLINE)
    one.charge(first, MicroUsd(2))
    await one.settle(job(1, 1), DEADLINE)

    await other.reserve(REQUEST, job(2, 0), DEADLINE)


async def test_calls_after_the_first_ones_ask_the_database_for_nothing() -> None:
    adversary = Adversary(EmbeddedDocuments(), iter(()))
    spending = replace(ledger(adversary, ceiling=100_000), per_run=None)
    for number in range(40):
        held = await spending.reserve(REQUEST, job(number, 0), DEADLINE)
        spending.charge(held, MicroUsd(3))

    assert adversary.calls <= 12


def test_a_reservation_that_is_already_held_is_not_refused_at_the_ceiling() -> None:
    full = Account(scope="run", ceiling=MicroUsd(9)).reserve("call", MicroUsd(9))

    assert full.reserve("call", MicroUsd(9)) == full
