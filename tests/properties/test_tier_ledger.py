"""What is spent lies between bill and ceiling, at whatever tiers calls are asked and served."""

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum

from hypothesis import given
from hypothesis import strategies as st

from executor.billing.bills import call_cost
from executor.billing.day import DayBudget
from executor.billing.escrow import SLICE_LASTS, parse_day
from executor.billing.ledger import Reservation, SpendLedger
from executor.billing.prices import MicroUsd, parse_prices
from executor.contract.profile import parse_profile
from executor.contract.tiers import ServiceTier
from executor.jobs.deadline import Deadline
from executor.ports import ModelRequest
from infra.local.embedded.documents import EmbeddedDocuments
from shared.domain.attempts import Attempt, CallPurpose, ModelCall
from shared.domain.documents import DocumentRef
from shared.domain.errors import CostCeilingExceeded, FirestoreUnavailable
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.jobs import JobRecord, JobState
from tests.support.adverse_store import NOW, Adversary, NoWait, Still

MODEL = "gemini-a"
RUN = RunId("20260105-090000_BTCUSD_one")
MOST_TOKENS = 10
#: A token of output costs so many millionths; input costs nothing.
COSTS = {
    ServiceTier.DEFERRED: 1,
    ServiceTier.FLEX: 1,
    ServiceTier.STANDARD: 2,
    ServiceTier.PRIORITY: 4,
}
PRICES = parse_prices(
    json.dumps(
        {
            MODEL: [
                {
                    "from": "2026-01-01",
                    "input": 0,
                    "output": COSTS[ServiceTier.STANDARD],
                    "tiers": {
                        tier: {"input": 0, "output": cost}
                        for tier, cost in COSTS.items()
                        if tier is not ServiceTier.STANDARD
                    },
                }
            ]
        }
    )
)
#: What the two backends call the tiers.
WORDS = {
    ServiceTier.DEFERRED: ("deferred", "ON_DEMAND_OFFPEAK"),
    ServiceTier.FLEX: ("flex", "ON_DEMAND_FLEX"),
    ServiceTier.STANDARD: ("standard", "ON_DEMAND"),
    ServiceTier.PRIORITY: ("priority", "ON_DEMAND_PRIORITY"),
}
DEADLINE = Deadline(clock=Still(), ends_at=1_000.0, reserve_seconds=0.0)


class End(StrEnum):
    """How a call ends."""

    REFUSED = "refused"  #: Nothing was done, and nothing is billed.
    ANSWERED = "answered"
    SILENT = "silent"  #: It was answered, and its tier was not named.
    STRANGE = "strange"  #: It was answered, and the name of its tier is not known.
    UNCOUNTED = "uncounted"  #: It was answered, and its usage cannot be read.
    EVICTED = "evicted"  #: It was broken off, and billed for what was done.
    CANCELLED = "cancelled"  #: We stopped it: what was done is billed, but not reported.
    DIED = "died"  #: The caller is gone; the provider worked all the same.


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """One call, as the provider knows it."""

    asked: ServiceTier
    end: End
    tokens: int
    #: Whether it was served at the usual tier instead of the one that was asked for.
    moved: bool
    dialect: int

    @property
    def bill(self) -> int:
        """What the provider bills."""
        return 0 if self.end is End.REFUSED else self.tokens * COSTS[self.served]

    @property
    def served(self) -> ServiceTier:
        """The tier that it was served at."""
        return ServiceTier.STANDARD if self.moved else self.asked

    def seen(self, number: int) -> ModelCall:
        """The call as the caller knows it afterwards."""
        counts = {"candidatesTokenCount": self.tokens, "totalTokenCount": self.tokens}
        silent = self.end in {End.SILENT, End.CANCELLED, End.REFUSED}
        told = self.end in {End.ANSWERED, End.SILENT, End.STRANGE, End.EVICTED}
        failed = self.end in {End.REFUSED, End.EVICTED, End.CANCELLED}
        word = "spot" if self.end is End.STRANGE else WORDS[self.served][self.dialect]
        return ModelCall(
            number=number,
            purpose=CallPurpose.REPORT,
            started_at=NOW,
            ended_at=NOW,
            model_name=MODEL,
            asked_tier=None if self.asked is ServiceTier.STANDARD else str(self.asked),
            service_tier=None if silent else word,
            usage=counts if told else None,
            code="GEMINI_REQUEST_FAILED" if failed else None,
            maybe_billed=self.end is End.CANCELLED,
        )


@dataclass(slots=True)
class Provider:
    """Bills the calls, and knows at every moment what was really spent."""

    ceiling: int
    billed: int = 0
    under_way: int = 0

    def begin(self, call: Called) -> None:
        self.under_way += call.bill
        assert self.billed + self.under_way <= self.ceiling

    def end(self, call: Called) -> None:
        self.under_way -= call.bill
        self.billed += call.bill


CALLS = st.builds(
    Called,
    asked=st.sampled_from(ServiceTier),
    end=st.sampled_from(End),
    tokens=st.integers(1, MOST_TOKENS),
    moved=st.booleans(),
    dialect=st.integers(0, 1),
)


def request(asked: ServiceTier, calls: Sequence[Called]) -> ModelRequest:
    return ModelRequest(
        profile=parse_profile(
            {"modelName": MODEL, "maxOutputTokens": MOST_TOKENS, "jsonSchema": {}}
        ),
        system_instruction="",
        user_text="",
        images=(),
        json_schema={},
        service_tier=asked,
        may_reach=[call.asked for call in calls],
    )


def job(step: int, known: Sequence[ModelCall], calls: int) -> JobRecord:
    return JobRecord(
        run_id=RUN,
        step_id=StepId(f"step-{step}"),
        claim_id=ClaimId("claim"),
        event_id="event",
        claimed_at=NOW,
        state=JobState.RUNNING,
        llm_calls=calls,
        history=(Attempt(number=1, started_at=NOW, calls=tuple(known)),),
    )


def ledger(documents: Adversary, *, ceiling: int, holder: str) -> SpendLedger:
    return SpendLedger(
        documents=documents,
        clock=Still(),
        random=NoWait(),
        prices=PRICES,
        per_run=MicroUsd(ceiling),
        day=DayBudget(
            documents=documents,
            clock=Still(),
            random=NoWait(),
            ceiling=MicroUsd(ceiling),
            holder=holder,
        ),
    )


@dataclass(slots=True)
class Step:
    """One step's calls, one after the other."""

    number: int
    calls: Sequence[Called]
    spending: SpendLedger
    provider: Provider
    #: Whether the caller dies before it has written what its calls cost.
    dies: bool

    async def run(self) -> Sequence[ModelCall]:
        known: list[ModelCall] = []
        booked = 0
        for call in self.calls:
            held = await self._reserved(call, job(self.number, known, booked))
            if held is None:
                continue
            self.provider.begin(call)
            await asyncio.sleep(0)
            self.provider.end(call)
            if call.end is End.DIED:
                return known
            seen = call.seen(booked + 1)
            # The call is charged twice, because what settles a call may be repeated.
            self.spending.charge(held, call_cost(seen, PRICES))
            self.spending.charge(held, call_cost(seen, PRICES))
            if call.end is not End.REFUSED:
                booked += 1
                known.append(seen)
        if not self.dies:
            with suppress(FirestoreUnavailable):
                await self.spending.settle(job(self.number, known, booked), DEADLINE)
        return known

    async def _reserved(self, call: Called, record: JobRecord) -> Reservation | None:
        try:
            wanted = request(call.asked, self.calls)
            return await self.spending.reserve(wanted, record, DEADLINE)
        except (CostCeilingExceeded, FirestoreUnavailable):
            return None


async def totals(store: EmbeddedDocuments) -> tuple[int, int]:
    """What the run's and the day's accounts say was spent, once all that is held has ended."""
    refs = [DocumentRef("llm_spend", name) for name in (f"run~{RUN}", f"day~{NOW.date()}")]
    run, day = await store.read(refs, timeout_seconds=1)
    data = run.data if run else {}
    held = sum(data.get("reservedMicroUsd", {}).values())
    account = parse_day(day.data if day else None, ceiling=MicroUsd(0), now=NOW + SLICE_LASTS)
    return data.get("spentMicroUsd", 0) + held, account.spent


@given(
    ceiling=st.integers(0, 200),
    plans=st.lists(
        st.tuples(st.lists(CALLS, min_size=1, max_size=4), st.booleans()),
        min_size=1,
        max_size=5,
    ),
    script=st.lists(st.integers(0, 255), max_size=200),
)
def test_spent_is_at_least_the_bill_and_at_most_the_ceiling(
    ceiling: int, plans: list[tuple[list[Called], bool]], script: list[int]
) -> None:
    async def run() -> None:
        store = EmbeddedDocuments()
        adversary = Adversary(store, iter(script))
        provider = Provider(ceiling)
        steps = [
            Step(
                number=number,
                calls=calls,
                spending=ledger(adversary, ceiling=ceiling, holder=str(number)),
                provider=provider,
                dies=dies,
            )
            for number, (calls, dies) in enumerate(plans)
        ]
        await asyncio.gather(*(step.run() for step in steps))
        for spent in await totals(store):
            assert provider.billed <= spent <= ceiling

    asyncio.run(run())


@given(calls=st.lists(CALLS, min_size=1, max_size=6))
def test_a_bill_that_is_known_is_settled_to_the_millionth_also_by_a_successor(
    calls: list[Called],
) -> None:
    """The first caller dies with its costs unwritten: the job record alone knows of them."""
    told = [
        replace(call, end=End.EVICTED if call.end is End.EVICTED else End.ANSWERED)
        for call in calls
    ]

    async def run() -> None:
        store = EmbeddedDocuments()
        adversary, provider = Adversary(store, iter(())), Provider(10_000)
        first = ledger(adversary, ceiling=10_000, holder="a")
        known = await Step(0, told, first, provider, dies=True).run()

        second = ledger(adversary, ceiling=10_000, holder="b")
        await second.settle(job(0, known, len(known)), DEADLINE)

        spent, _ = await totals(store)
        assert spent == provider.billed

    asyncio.run(run())


@given(call=CALLS)
def test_a_tier_that_is_not_known_has_no_price_and_is_never_free(call: Called) -> None:
    cost = call_cost(call.seen(1), PRICES)

    unknown = {End.STRANGE, End.UNCOUNTED, End.CANCELLED}
    if call.asked is not ServiceTier.STANDARD:
        unknown.add(End.SILENT)
    if call.end in unknown:
        assert cost is None
    elif call.end in {End.REFUSED, End.ANSWERED, End.EVICTED}:
        assert cost == call.bill
