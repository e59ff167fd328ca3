"""Never past the ceiling: many executors at once, lost answers, and deaths anywhere."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.ledger import SpendLedger
from executor.ports import ModelRequest
from executor.prices import MicroUsd, Price
from executor.spend import Account, Ceilings
from infra.local.embedded.documents import EmbeddedDocuments
from shared.domain.documents import DocumentRef, Snapshot, Version, Write
from shared.domain.errors import CostCeilingExceeded, FirestoreUnavailable
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.jobs import JobRecord, JobState
from shared.domain.profile import parse_profile
from shared.ports import StoreUnavailable

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
RUN = RunId("20260105-090000_BTCUSD_one")
WORST_CASE = 10
#: Every call's input counts as nothing, and one token of output costs a millionth.
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


class NoWait(Random):
    def uniform(self, a: float, b: float) -> float:
        del a, b
        return 0.0


class Still:
    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0


@dataclass(slots=True)
class Adversary:
    """A store that lets others go first, refuses, and loses answers, as it is told."""

    store: EmbeddedDocuments
    script: Iterator[int]
    calls: int = 0

    async def read(
        self, refs: Sequence[DocumentRef], *, timeout_seconds: float
    ) -> Sequence[Snapshot | None]:
        self.calls += 1
        await self._let_others_go_first()
        found = await self.store.read(refs, timeout_seconds=timeout_seconds)
        await self._let_others_go_first()
        return found

    async def commit(self, writes: Sequence[Write], *, timeout_seconds: float) -> Version:
        self.calls += 1
        await self._let_others_go_first()
        fault = self._next() % 8
        if fault == 0:
            raise StoreUnavailable("refused")
        version = await self.store.commit(writes, timeout_seconds=timeout_seconds)
        if fault == 1:
            raise StoreUnavailable("the answer was lost")
        await self._let_others_go_first()
        return version

    async def _let_others_go_first(self) -> None:
        for _ in range(self._next() % 4):
            await asyncio.sleep(0)

    def _next(self) -> int:
        return next(self.script, 2)


@dataclass(slots=True)
class Provider:
    """Bills; knows at every moment what was really spent."""

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
    """What one executor does: costs of its calls; None is a death in the middle of one."""

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


def ledger(documents: Adversary, *, ceiling: int) -> SpendLedger:
    return SpendLedger(
        documents=documents,
        clock=Still(),
        random=NoWait(),
        prices={"gemini-a": [PRICE]},
        ceilings=Ceilings(per_run=MicroUsd(ceiling), per_day=MicroUsd(ceiling + 3)),
    )


async def execute(plan: Plan, spending: SpendLedger, provider: Provider) -> None:
    for number, cost in enumerate(plan.costs):
        try:
            reservation = await spending.reserve(REQUEST, job(plan.step, number))
        except (CostCeilingExceeded, FirestoreUnavailable):
            continue
        provider.begin()
        await asyncio.sleep(0)
        if cost is None:
            # The provider worked all the same, and the caller never learned of it.
            provider.end(WORST_CASE)
            continue
        provider.end(cost)
        try:
            await spending.settle(reservation, MicroUsd(cost))
            await spending.settle(reservation, MicroUsd(cost))
        except FirestoreUnavailable:
            continue


async def total_of(documents: EmbeddedDocuments, name: str) -> int:
    [found] = await documents.read([DocumentRef("llm_spend", name)], timeout_seconds=1)
    if found is None:
        return 0
    reserved: int = sum(found.data["reservedMicroUsd"].values())
    spent: int = found.data["spentMicroUsd"]
    return spent + reserved


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
        spending = ledger(Adversary(store, iter(script)), ceiling=ceiling)
        provider = Provider(ceiling)
        await asyncio.gather(
            *(
                execute(Plan(step=step, costs=costs), spending, provider)
                for step, costs in enumerate(plans)
            )
        )
        for name in (f"run~{RUN}", f"day~{NOW.date()}"):
            total = await total_of(store, name)
            assert provider.billed <= total <= ceiling

    asyncio.run(run())


@given(st.lists(st.tuples(st.sampled_from("abc"), st.none() | st.integers(0, 9)), max_size=20))
def test_settling_twice_and_reserving_twice_change_nothing(
    acts: list[tuple[str, int | None]],
) -> None:
    account = Account(scope="run", ceiling=MicroUsd(1_000))
    for call, cost in acts:
        reserved = account.reserve(call, MicroUsd(9))
        assert reserved.reserve(call, MicroUsd(9)) == reserved
        settled = reserved.settle(call, None if cost is None else MicroUsd(cost))
        assert settled.settle(call, MicroUsd(5)) == settled
        assert settled.total <= reserved.total
        account = settled


async def test_what_a_dead_holder_left_is_settled_by_the_next_one_in_full() -> None:
    store = EmbeddedDocuments()
    spending = ledger(Adversary(store, iter(())), ceiling=100)
    await spending.reserve(REQUEST, job(1, 0))

    await spending.reserve(REQUEST, job(1, 1))

    [run] = await store.read([DocumentRef("llm_spend", f"run~{RUN}")], timeout_seconds=1)
    assert run is not None
    assert run.data["spentMicroUsd"] == WORST_CASE
    assert list(run.data["reservedMicroUsd"].values()) == [WORST_CASE]


async def test_a_refusal_holds_nothing_and_gives_the_figures() -> None:
    store = EmbeddedDocuments()
    spending = ledger(Adversary(store, iter(())), ceiling=15)
    first = await spending.reserve(REQUEST, job(1, 0))
    await spending.settle(first, MicroUsd(7))

    with pytest.raises(CostCeilingExceeded) as refused:
        await spending.reserve(REQUEST, job(2, 0))

    assert refused.value.details == {
        "scope": "run",
        "ceilingUsd": 0.000015,
        "spentUsd": 0.000007,
        "reservedUsd": 0.0,
        "neededUsd": 0.00001,
    }
    assert await total_of(store, f"run~{RUN}") == 7
    assert await total_of(store, f"day~{NOW.date()}") == 7


async def test_a_call_costs_two_reads_and_two_commits() -> None:
    adversary = Adversary(EmbeddedDocuments(), iter(()))
    spending = ledger(adversary, ceiling=100)

    reservation = await spending.reserve(REQUEST, job(1, 0))
    await spending.settle(reservation, MicroUsd(3))

    assert adversary.calls == 4


def test_a_reservation_that_is_already_held_is_not_refused_at_the_ceiling() -> None:
    full = Account(scope="run", ceiling=MicroUsd(9)).reserve("call", MicroUsd(9))

    assert full.reserve("call", MicroUsd(9)) == full
