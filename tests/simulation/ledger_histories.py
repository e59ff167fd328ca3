"""The ledger alone, in many short histories: instances that reserve, call, settle and die.

Everything is drawn from the seed: ceilings, what calls cost, when midnight comes, whether
prices change with it, how sources grow between two attempts, which writes the store refuses or
does not answer, and who dies when. A history is a few calls long, so that hundreds of them are
lived through in a second; `make simulate` says how many it ran.
"""

import asyncio
import functools
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from random import Random
from typing import Any

from executor.billing.bills import call_cost
from executor.billing.day import DayBudget
from executor.billing.ledger import Reservation, SpendLedger
from executor.billing.prices import MicroUsd, Price, PriceTable
from executor.contract.profile import parse_profile
from executor.jobs.deadline import Deadline
from executor.ports import ModelRequest
from shared.domain.attempts import Attempt, CallPurpose, ModelCall
from shared.domain.documents import Create, DocumentRef, Snapshot, Update, Version, Write
from shared.domain.errors import CostCeilingExceeded, FirestoreUnavailable
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.jobs import JobRecord, JobState
from shared.ports import Conflict, StoreUnavailable
from tests.simulation.loop import VirtualLoop, make_loop
from tests.simulation.process import EPOCH, Process

MODEL = "gemini-a"
RUN = RunId("20260105-090000_BTCUSD_one")
#: The time from the epoch, which is nine in the morning, to the first midnight.
_MIDNIGHT = 15 * 3_600.0
#: Invocations end within nine minutes.
_INVOCATION_SECONDS = 540.0
_LONGEST_CALL = 480.0
#: Some begin with hardly more time than is kept for their end, or with less.
_SHORT, _RESERVE_SECONDS = 0.2, 60.0
_MOST_CALLS, _MOST_ATTEMPTS = 3, 4
_FAULTS, _OUTAGES = (0.04, 0.04, 0.25), 0.15
#: A write that was given up is applied within this time or never; whoever comes after a failed
#: attempt comes later.
_LATE_SECONDS = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerTold:
    """The result of one history."""

    seed: int
    violations: Sequence[str]
    calls: int
    #: How often deaths, midnights, growths and other things happened, by name.
    seen: Counter[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawn:
    """What the seed decides before the history begins."""

    prices: PriceTable
    per_run: MicroUsd | None
    per_day: MicroUsd | None
    begins_at: float
    instances: int
    #: The tokens of output that each step's calls may take, and how many more they take later.
    steps: Sequence[tuple[int, int]]
    deadly: float


def _drawn(draw: Random) -> _Drawn:
    first = draw.choice([1, 2, 3])
    later = draw.choice([first, first, 2 * first, max(1, first // 2)])
    steps = [
        (draw.randint(1, 20), draw.choice([0, 0, 1, 15])) for _ in range(draw.randint(1, 3))
    ]
    most = max(first, later) * sum(tokens for tokens, _ in steps)
    run, day = (draw.choice([None, most // 2, most, 9 * most]) for _ in range(2))
    if run is None and day is None:
        day = most
    near = draw.random() < 0.4
    return _Drawn(
        prices=_prices(first, later),
        per_run=None if run is None else MicroUsd(run),
        per_day=None if day is None else MicroUsd(day),
        begins_at=_MIDNIGHT - draw.uniform(0, 900) if near else draw.uniform(0, 3_600),
        instances=draw.randint(1, 3),
        steps=steps,
        deadly=draw.choice([0.0, 0.0, 0.1, 0.4]),
    )


@functools.cache
def _prices(first: int, later: int) -> PriceTable:
    """Millionths of a dollar per token of output: before the first midnight, and after it."""
    begins = {EPOCH.date(): first, (EPOCH + timedelta(days=1)).date(): later}
    prices = [
        Price(
            valid_from=day,
            input=Decimal(0),
            output=Decimal(cost),
            cached=Decimal(0),
            thought=Decimal(cost),
        )
        for day, cost in begins.items()
    ]
    return {MODEL: prices[::-1]}


@functools.cache
def _request(tokens: int) -> ModelRequest:
    return ModelRequest(
        profile=parse_profile(
            {"modelName": MODEL, "maxOutputTokens": tokens, "jsonSchema": {}}
        ),
        system_instruction="",
        user_text="",
        images=(),
        json_schema={},
    )


@dataclass(slots=True, kw_only=True)
class Books:
    """What the provider really bills, and what the ledger's documents say of it."""

    drawn: _Drawn
    #: For each document: the amount billed so far, and the most that the calls under way may
    #: cost.
    billed: Counter[str] = field(default_factory=Counter)
    under_way: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    calls: int = 0

    def begin(self, day: date, most: int) -> None:
        """Note a call that begins, for which money was reserved on that day."""
        self.calls += 1
        for name, ceiling in self._accounts(day):
            self.under_way[name] += most
            bill = self.billed[name] + self.under_way[name]
            if bill > ceiling:
                self._broken(f"{name}: {bill} may be billed under a ceiling of {ceiling}")

    def end(self, day: date, most: int, cost: int) -> None:
        """Note that a call has ended, and what it cost."""
        for name, _ in self._accounts(day):
            self.under_way[name] -= most
            self.billed[name] += cost

    def written(self, ref: DocumentRef, fields: dict[str, Any]) -> None:
        """Compare a document of the ledger with the bill and with its ceiling."""
        name = ref.document_id
        ceiling = self.drawn.per_run if name.startswith("run~") else self.drawn.per_day
        total = _total(fields)
        if total > (ceiling or 0):
            self._broken(f"{name}: {total} spent or held under a ceiling of {ceiling}")
        if total < self.billed[name]:
            self._broken(f"{name}: {total} spent or held, {self.billed[name]} billed")

    def _accounts(self, day: date) -> Sequence[tuple[str, int]]:
        found: list[tuple[str, int]] = []
        if self.drawn.per_run is not None:
            found.append((f"run~{RUN}", self.drawn.per_run))
        if self.drawn.per_day is not None:
            found.append((f"day~{day}", self.drawn.per_day))
        return found

    def _broken(self, text: str) -> None:
        self.violations.append(text)


def _total(fields: dict[str, Any]) -> int:
    held = sum(fields.get("reservedMicroUsd", {}).values())
    slices = sum(entry["microUsd"] for entry in fields.get("slices", {}).values())
    return int(fields.get("spentMicroUsd", 0) + held + slices)


@dataclass(slots=True, kw_only=True)
class Store:
    """Implements the DocumentStore port for the ledger; it is slow, and at times not there."""

    draw: Random
    books: Books
    seen: Counter[str]
    faults: float
    #: Between these two moments the store answers nothing.
    down: tuple[float, float] = (0.0, 0.0)
    documents: dict[DocumentRef, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    _version: int = 0

    async def read(
        self, refs: Sequence[DocumentRef], *, timeout_seconds: float
    ) -> Sequence[Snapshot | None]:
        """See the port."""
        del timeout_seconds
        await self._reached()
        return [self._snapshot(ref) for ref in refs]

    async def commit(self, writes: Sequence[Write], *, timeout_seconds: float) -> Version:
        """See the port."""
        del timeout_seconds
        await self._reached()
        chance = self.draw.random()
        if chance < self.faults / 2:
            self.seen["writes refused"] += 1
            raise StoreUnavailable("refused")
        if chance < self.faults:
            self.seen["writes applied late"] += 1
            asyncio.get_running_loop().call_later(
                _LATE_SECONDS * self.draw.random(), self._late, writes
            )
            raise StoreUnavailable("no answer in time")
        for write in writes:
            self._write(write)
        if chance < 2 * self.faults:
            self.seen["answers lost"] += 1
            raise StoreUnavailable("the answer was lost")
        return Version(self._version)

    def _late(self, writes: Sequence[Write]) -> None:
        with suppress(Conflict):
            for write in writes:
                self._write(write)

    async def _reached(self) -> None:
        await asyncio.sleep(self.draw.random())
        begins, ends = self.down
        if self.faults and begins < asyncio.get_running_loop().time() < ends:
            self.seen["asked in an outage"] += 1
            raise StoreUnavailable("down")

    def _write(self, write: Write) -> None:
        stored = self.documents.get(write.ref)
        if isinstance(write, Create):
            if stored is not None:
                raise Conflict("it exists")
            fields = dict(write.data)
        else:
            assert isinstance(write, Update)
            if stored is None or stored[0] != write.guard:
                self.seen["races lost"] += 1
                raise Conflict("it has changed")
            changed = {path[0]: value for path, value in write.changes.items()}
            fields = {**stored[1], **changed}
        self._version += 1
        self.documents[write.ref] = self._version, fields
        self.books.written(write.ref, fields)

    def _snapshot(self, ref: DocumentRef) -> Snapshot | None:
        stored = self.documents.get(ref)
        if stored is None:
            return None
        # Whole fields are replaced and never changed in place, so no copy is needed.
        return Snapshot(ref=ref, version=Version(stored[0]), data=stored[1])


class CutOff(Exception):
    """Raised where an invocation is cut off."""


@dataclass(slots=True, kw_only=True)
class Instance:
    """One instance of the executor."""

    process: Process
    ledger: SpendLedger
    #: The calls of the instance that are under way, and what they will cost.
    open: list[tuple[Reservation, int]] = field(default_factory=list)

    def begin(self, held: Reservation, cost: int) -> tuple[Reservation, int]:
        """Note a call that begins."""
        call = (held, cost)
        self.open.append(call)
        return call


@dataclass(slots=True, kw_only=True)
class Claimed:
    """One claim of a step, as its job record knows it."""

    number: int
    tokens: int
    growth: int
    booked: int = 0
    known: list[ModelCall] = field(default_factory=list)
    done: bool = False
    #: Its last attempt settled what it had reserved.
    settled: bool = False

    def record(self) -> JobRecord:
        """The job record."""
        return JobRecord(
            run_id=RUN,
            step_id=StepId(f"s{self.number}"),
            claim_id=ClaimId("c"),
            event_id="e",
            claimed_at=EPOCH,
            state=JobState.RUNNING,
            llm_calls=self.booked,
            history=(Attempt(number=1, started_at=EPOCH, calls=tuple(self.known)),),
        )


@dataclass(slots=True, kw_only=True)
class History:
    """All parts of one history."""

    draw: Random
    drawn: _Drawn
    loop: VirtualLoop
    books: Books
    store: Store
    seen: Counter[str]
    #: Whether those who have to write the costs know all of them.
    exact: bool = True
    _instances: list[Instance] = field(default_factory=list)
    _born: int = 0

    async def live(self) -> None:
        """Do the steps, wait until everything is at rest, and look at what is left."""
        await asyncio.sleep(self.drawn.begins_at)
        for _ in range(self.drawn.instances):
            self._instances.append(self._instance())
        claims = [
            Claimed(number=number, tokens=tokens, growth=growth)
            for number, (tokens, growth) in enumerate(self.drawn.steps)
        ]
        await asyncio.gather(*map(self._step, claims))
        self.store.faults = 0.0
        last = self._instance()
        await asyncio.sleep(_LATE_SECONDS)
        for claim in claims:
            if claim.settled:
                continue
            await last.ledger.settle(claim.record(), self._deadline(last.process))
        for instance in self._instances:
            if instance.process.alive:
                work = functools.partial(self._come_to_rest, instance)
                await instance.process.start(work).answer
        self._look_at_rest()

    def _instance(self) -> Instance:
        self._born += 1
        name = f"i{self._born}"
        process = Process(name, self.loop)
        day = None
        if self.drawn.per_day is not None:
            day = DayBudget(
                documents=self.store,
                clock=process,
                random=self.draw,
                ceiling=self.drawn.per_day,
                holder=name,
            )
        ledger = SpendLedger(
            documents=self.store,
            clock=process,
            random=self.draw,
            prices=self.drawn.prices,
            per_run=self.drawn.per_run,
            day=day,
        )
        return Instance(process=process, ledger=ledger)

    def _short(self, process: Process, seconds: float = 0.0) -> Deadline:
        return self._deadline(process, seconds + self.draw.uniform(0.5, 5))

    def _deadline(self, process: Process, seconds: float = _INVOCATION_SECONDS) -> Deadline:
        ends_at = process.monotonic() + seconds
        return Deadline(clock=process, ends_at=ends_at, reserve_seconds=_RESERVE_SECONDS)

    async def _step(self, claim: Claimed) -> None:
        """Make one attempt after the other, each on an instance that has room for it."""
        for attempt in range(self.draw.randint(1, _MOST_ATTEMPTS)):
            # At times the pause is longer than a slice lasts.
            mean_seconds = self.draw.choice([60, 60, 60, 1_500])
            await asyncio.sleep(_LATE_SECONDS + self.draw.expovariate(1 / mean_seconds))
            instance = self.draw.choice(self._instances)
            tokens = claim.tokens + attempt * claim.growth
            self.seen["growths"] += attempt > 0 and claim.growth > 0
            work = functools.partial(self._attempt, claim, instance, tokens)
            ended = await instance.process.start(work).answer
            if isinstance(ended, Exception) and not isinstance(ended, CutOff):
                raise ended
            if claim.done:
                return

    async def _attempt(self, claim: Claimed, instance: Instance, tokens: int) -> None:
        claim.settled = False
        deadline = self._deadline(instance.process)
        if self.draw.random() < _SHORT:
            self.seen["short of time"] += 1
            deadline = self._short(instance.process, _RESERVE_SECONDS)
        for _ in range(self.draw.randint(1, _MOST_CALLS)):
            try:
                wanted = claim.record()
                held = await instance.ledger.reserve(_request(tokens), wanted, deadline)
            except CostCeilingExceeded:
                self.seen["refused by a ceiling"] += 1
                break
            except FirestoreUnavailable:
                self.exact = False
                break
            if self.draw.random() < 0.1:
                # The call is never made: the lease was lost before the call was booked.
                self.seen["calls not made"] += 1
                self.exact = False
                instance.ledger.release(held)
                return
            await self._call(claim, instance, held, tokens, deadline)
        else:
            claim.done = True
        if self.draw.random() < _SHORT:
            deadline = self._short(instance.process)
        try:
            await instance.ledger.settle(claim.record(), deadline)
        except FirestoreUnavailable:
            self.exact = False
        else:
            claim.settled = True

    async def _call(
        self,
        claim: Claimed,
        instance: Instance,
        held: Reservation,
        tokens: int,
        deadline: Deadline,
    ) -> None:
        draw, process = self.draw, instance.process
        claim.booked += 1
        number = claim.booked
        await asyncio.sleep(draw.choice([0.1, 5.0, 90.0]) * draw.random())
        begun = process.now()
        self.seen["midnights"] += begun.date() != held.day
        price = self._price(begun.date())
        self.books.begin(held.day, held.amount)
        refused, failed = draw.random() < 0.15, draw.random() < 0.1
        free = refused or failed
        spent = 0 if free else draw.randint(1, tokens)
        cost = spent * price
        open_call = instance.begin(held, cost)
        self._may_die(instance)
        await asyncio.sleep(min(draw.expovariate(1 / 40), _LONGEST_CALL, deadline.available()))
        instance.open.remove(open_call)
        self.books.end(held.day, held.amount, cost)
        if draw.random() < 0.05:
            # The invocation is cut off before the answer is there.
            self.seen["calls cut off"] += 1
            self.exact = False
            instance.ledger.hand_over(held)
            raise CutOff
        told = free or draw.random() < 0.9
        self.seen["costs unknown"] += not told
        self.exact = self.exact and told
        counts = {"candidatesTokenCount": spent, "totalTokenCount": spent}
        seen = ModelCall(
            number=number,
            purpose=CallPurpose.REPORT,
            started_at=begun,
            ended_at=process.now(),
            model_name=MODEL,
            usage=counts if told and not free else None,
            code="GEMINI_REQUEST_FAILED" if free else None,
        )
        instance.ledger.charge(held, call_cost(seen, self.drawn.prices))
        # A free call is taken off the count, and the next call gets its number. The record
        # forgets the call if it was refused.
        claim.booked -= free
        if not refused:
            claim.known.append(seen)

    def _price(self, day: date) -> int:
        found = next(p for p in self.drawn.prices[MODEL] if p.valid_from <= day)
        return int(found.output)

    def _may_die(self, instance: Instance) -> None:
        """Perhaps let the instance die soon; the provider ends its calls all the same."""
        if self.draw.random() >= self.drawn.deadly:
            return

        def die() -> None:
            if instance.process.alive:
                self.seen["deaths"] += 1
                self.exact = False
                instance.process.crash()
                for held, cost in instance.open:
                    self.books.end(held.day, held.amount, cost)
                self._instances[self._instances.index(instance)] = self._instance()

        self.loop.call_later(self.draw.random() * 20, die)

    async def _come_to_rest(self, instance: Instance) -> None:
        if instance.ledger.day is not None:
            await instance.ledger.day.settle(self._deadline(instance.process))

    def _look_at_rest(self) -> None:
        """Check that reservations end, those of the dead expire, and known bills are exact."""
        alive = {each.process.name for each in self._instances if each.process.alive}
        now = EPOCH + timedelta(seconds=self.loop.time())
        for ref, (_, fields) in self.store.documents.items():
            name = ref.document_id
            slices = {
                holder
                for holder, entry in fields.get("slices", {}).items()
                if entry["expiresAt"] > now
            }
            left = {*fields.get("reservedMicroUsd", {}), *(alive & slices)}
            if left:
                self.books.violations.append(f"{name}: still held at rest: {sorted(left)}")
            exact, total = self.exact, _total(fields)
            if total < self.books.billed[name] or (exact and total != self.books.billed[name]):
                self.books.violations.append(
                    f"{name}: {total} spent, {self.books.billed[name]} billed"
                )


def ledger_history(seed: int) -> LedgerTold:
    """Run one history."""
    draw = Random(seed)
    drawn = _drawn(draw)
    seen: Counter[str] = Counter()
    books = Books(drawn=drawn)
    loop = make_loop(draw)
    store = Store(draw=draw, books=books, seen=seen, faults=draw.choice(_FAULTS))
    if draw.random() < _OUTAGES:
        begins = drawn.begins_at + draw.uniform(0, 200)
        store.down = begins, begins + draw.uniform(0, 90)
    history = History(draw=draw, drawn=drawn, loop=loop, books=books, store=store, seen=seen)
    task = loop.create_task(history.live())
    try:
        loop.run(task.done)
        task.result()
    finally:
        loop.close()
    return LedgerTold(
        seed=seed, violations=tuple(books.violations), calls=books.calls, seen=seen
    )
