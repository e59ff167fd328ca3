"""One instance's part in the day's ceiling: slices taken, and calls granted from them."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import count
from random import Random
from typing import Any

from executor.billing.escrow import (
    LEAST_CALLS,
    SLICE_LASTS,
    DayAccount,
    Slice,
    fresh_amount,
    parse_day,
)
from executor.billing.prices import FREE, MICRO_USD_PER_USD, MicroUsd, usd
from executor.billing.time_left import TimeLeft
from executor.ports import CALL_TIMEOUT_SECONDS
from shared.domain.documents import Create, DocumentRef, FieldPath, Snapshot, Update, Write
from shared.domain.errors import CostCeilingExceeded, CostCeilingHeld, FirestoreUnavailable
from shared.guarded import Backoff
from shared.ports import Clock, Conflict, DocumentStore, StoreUnavailable

COLLECTION = "llm_spend"
KEEP_ACCOUNTS = timedelta(days=400)
MAX_TRIES = 20
_BACKOFF = Backoff(first_seconds=0.05, longest_seconds=2.0)
#: A slice is to last about so long.
_LASTS_SECONDS = 120.0
#: A call that fits once others have ended waits for those of its own instance so long.
_WAITS_SECONDS = 20.0
#: A slice that expires so soon grants no further call.
_MARGIN = timedelta(minutes=12)
#: Stands for the revision where a write leaves no slice; no slice has it.
_GIVEN_BACK = 0
#: Ceilings so much larger are kept in one document more: one document takes a write a second
#: (https://firebase.google.com/docs/firestore/best-practices).
_USD_A_SHARD = 200
MAX_SHARDS = 16


@dataclass(slots=True)
class _Held:
    """The instance's slice of one shard."""

    amount: MicroUsd = FREE
    expires_at: datetime | None = None
    taken_at: float = 0.0
    #: Granted since it was taken.
    granted: int = 0
    spent: MicroUsd = FREE
    calls: dict[str, MicroUsd] = field(default_factory=dict)
    #: Writes that may be applied, now or later: by revision, how much of the spent each tells.
    unanswered: dict[int, MicroUsd] = field(default_factory=dict)

    @property
    def held(self) -> MicroUsd:
        return MicroUsd(sum(self.calls.values()))

    def left(self, now: datetime) -> MicroUsd:
        if self.expires_at is None or now + _MARGIN >= self.expires_at or self.unanswered:
            return FREE
        return MicroUsd(self.amount - self.spent - self.held)


@dataclass(frozen=True, slots=True, kw_only=True)
class DayBudget:
    """Grants calls under the day's ceiling."""

    documents: DocumentStore
    clock: Clock
    random: Random
    ceiling: MicroUsd
    #: Names this instance among all.
    holder: str
    _slices: defaultdict[tuple[date, int], _Held] = field(
        default_factory=lambda: defaultdict(_Held)
    )
    _revisions: Iterator[int] = field(default_factory=lambda: count(1))
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: Set for a moment whenever a call has ended.
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def shards(self) -> int:
        """Documents that share the ceiling; the same for all instances."""
        dollars = self.ceiling // MICRO_USD_PER_USD
        return min(MAX_SHARDS, max(1, dollars // _USD_A_SHARD))

    async def grant(self, call: str, day: date, amount: MicroUsd, deadline: TimeLeft) -> None:
        """Hold the amount for the call; a call that is held for already, holds the larger one.

        Raises:
            CostCeilingExceeded: it does not fit.
            CostCeilingHeld: it does not fit at present, and calls under way may leave room.
            FirestoreUnavailable: the ledger did not answer.
        """
        until = self.clock.monotonic() + _WAITS_SECONDS
        while True:
            try:
                await self._granted(call, day, amount, deadline)
            except CostCeilingHeld:
                # What a call of this instance leaves is in its slice, and nobody else's: a job
                # sent away now would find it given back, and take it again.
                left = min(until - self.clock.monotonic(), deadline.available())
                if not await self._call_ended(day, left):
                    raise
            else:
                return

    async def _granted(
        self, call: str, day: date, amount: MicroUsd, deadline: TimeLeft
    ) -> None:
        async with self._lock:
            for shard in range(self.shards):
                held = self._slices[day, shard]
                if call in held.calls:
                    more = MicroUsd(amount - held.calls[call])
                    if more > held.left(self.clock.now()):
                        await self._take(day, shard, more, deadline)
                    if call in held.calls:
                        held.calls[call] = MicroUsd(max(amount, held.calls[call]))
                        return
                    # The slice that held it has expired.
                    break
            await self._grant_anew(call, day, amount, deadline)

    async def _call_ended(self, day: date, within_seconds: float) -> bool:
        """Wait for a call under way of this instance, if there is any."""
        at_work = any(held.calls for (of, _), held in self._slices.items() if of == day)
        if not at_work or within_seconds <= 0:
            return False
        try:
            await asyncio.wait_for(self._ended.wait(), within_seconds)
        except TimeoutError:
            return False
        return True

    def charge(self, call: str, cost: MicroUsd | None) -> None:
        """Let the call stand with what it cost, or, where that is unknown, with all."""
        for held in self._slices.values():
            amount = held.calls.pop(call, None)
            if amount is not None:
                held.spent = MicroUsd(held.spent + (amount if cost is None else cost))
                self._ended.set()
                self._ended.clear()
                return

    async def settle(self, deadline: TimeLeft) -> None:
        """Give back what no call under way needs, as soon as none is under way.

        Raises:
            FirestoreUnavailable: the ledger did not answer; the slice stands.
        """
        async with self._lock:
            for (day, shard), held in list(self._slices.items()):
                if not held.calls and (held.expires_at is not None or held.unanswered):
                    await self._write(day, shard, deadline, need=None)
                if not held.calls:
                    self._slices.pop((day, shard), None)

    async def _grant_anew(
        self, call: str, day: date, amount: MicroUsd, deadline: TimeLeft
    ) -> None:
        first = sum(self.holder.encode()) % self.shards
        order = [(first + step) % self.shards for step in range(self.shards)]
        now = self.clock.now()
        shard = next((s for s in order if self._slices[day, s].left(now) >= amount), None)
        problem: CostCeilingExceeded | None = None
        if shard is None:
            for shard in order:
                try:
                    await self._take(day, shard, amount, deadline)
                except CostCeilingExceeded as refused:
                    held = isinstance(problem, CostCeilingHeld)
                    problem = problem if held else refused
                else:
                    break
            else:
                raise problem or CostCeilingExceeded("the day has no shard")
        held_slice = self._slices[day, shard]
        held_slice.calls[call] = amount
        held_slice.granted += amount

    async def _take(self, day: date, shard: int, need: MicroUsd, deadline: TimeLeft) -> None:
        refusal = await self._write(day, shard, deadline, need=need)
        if refusal is not None:
            raise refusal

    async def _write(
        self, day: date, shard: int, deadline: TimeLeft, *, need: MicroUsd | None
    ) -> CostCeilingExceeded | None:
        """Settle what was spent, and take another slice; why there is none, or None."""
        held = self._slices[day, shard]
        for retry in range(1, MAX_TRIES + 1):
            if (deadline.remaining() if need is None else deadline.available()) <= 0:
                break
            try:
                stored = await self._read(day, shard)
                account = self._account(stored)
                mine = account.slices.get(self.holder)
                self._learn(held, mine)
                if need is not None and held.left(self.clock.now()) >= need:
                    return None
                slice_, refusal = self._next(held, account, need)
                amounts = [each.amount if each else FREE for each in (slice_, mine)]
                idle = not (held.spent or held.unanswered) and amounts[0] == amounts[1]
                if (need is None or refusal is not None) and (held.calls or idle):
                    # Nothing to give back yet: a look is enough.
                    return refusal
                told = held.spent
                after = account.with_slice(self.holder, spent=told, mine=slice_)
                write = self._document(day, shard, stored, after)
                held.unanswered[slice_.revision if slice_ else _GIVEN_BACK] = told
                await self.documents.commit([write], timeout_seconds=CALL_TIMEOUT_SECONDS)
            except (Conflict, StoreUnavailable):
                await asyncio.sleep(_BACKOFF.seconds(retry, self.random))
            else:
                self._adopt(held, slice_, told)
                return refusal
        raise FirestoreUnavailable("the day's spending could not be written in time")

    def _learn(self, held: _Held, mine: Slice | None) -> None:
        """See from the stored slice what became of writes without an answer."""
        if mine is not None and mine.revision in held.unanswered:
            self._adopt(held, mine, held.unanswered[mine.revision])
        elif mine is None and held.expires_at is not None:
            # It expired, and others have counted it in full; or it was given back. Either way
            # there is no slice to grant from.
            held.calls = {}
            self._adopt(held, None, held.spent)

    def _next(
        self, held: _Held, account: DayAccount, need: MicroUsd | None
    ) -> tuple[Slice | None, CostCeilingExceeded | None]:
        kept = held.held
        refusal = None
        fresh = FREE
        if need is not None:
            room = account.room(self.holder, spent=held.spent, held=kept)
            if room >= need:
                wanted, at_work = self._wanted(held, need), held.granted > 0
                fresh = fresh_amount(room, need=need, wanted=wanted, at_work=at_work)
            else:
                refusal = self._refusal(account, held, need)
        if not kept and not fresh:
            return None, refusal
        expires_at = self.clock.now() + SLICE_LASTS
        amount, revision = MicroUsd(kept + fresh), next(self._revisions)
        return Slice(amount=amount, expires_at=expires_at, revision=revision), refusal

    def _wanted(self, held: _Held, need: MicroUsd) -> MicroUsd:
        """What the instance is likely to need for a while, by what it needed before."""
        seconds = max(self.clock.monotonic() - held.taken_at, 1.0)
        likely = held.granted / seconds * _LASTS_SECONDS if held.granted else 0.0
        return MicroUsd(max(int(likely), LEAST_CALLS * need))

    def _refusal(self, account: DayAccount, held: _Held, need: MicroUsd) -> CostCeilingExceeded:
        spent = MicroUsd(account.spent + held.spent)
        reserved = MicroUsd(account.held_by_others(self.holder) + held.held)
        kind = CostCeilingHeld if spent + need <= account.ceiling else CostCeilingExceeded
        return kind(
            f"this call may cost {usd(need):.6f} USD, and the day has"
            f" {usd(MicroUsd(spent + reserved)):.6f} of {usd(account.ceiling):.6f} USD spent"
            " or reserved",
            details={
                "scope": "day",
                "ceilingUsd": usd(account.ceiling),
                "spentUsd": usd(spent),
                "reservedUsd": usd(reserved),
                "neededUsd": usd(need),
            },
        )

    def _adopt(self, held: _Held, slice_: Slice | None, told: MicroUsd) -> None:
        # A call that ended while the slice was written has spent more than the account knows.
        held.spent = MicroUsd(held.spent - told)
        held.granted = 0
        held.taken_at = self.clock.monotonic()
        held.amount = slice_.amount if slice_ else FREE
        held.expires_at = slice_.expires_at if slice_ else None
        # Each of them was guarded by a version that is gone.
        held.unanswered.clear()

    def _account(self, stored: Snapshot | None) -> DayAccount:
        ceiling = MicroUsd(self.ceiling // self.shards)
        data = stored.data if stored else None
        return parse_day(data, ceiling=ceiling, now=self.clock.now())

    async def _read(self, day: date, shard: int) -> Snapshot | None:
        ref = _ref(day, shard)
        [stored] = await self.documents.read([ref], timeout_seconds=CALL_TIMEOUT_SECONDS)
        return stored

    def _document(
        self, day: date, shard: int, stored: Snapshot | None, account: DayAccount
    ) -> Write:
        expires = self.clock.now() + KEEP_ACCOUNTS
        fields: dict[str, Any] = {**account.as_document(), "expireAt": expires}
        if stored is None:
            return Create(ref=_ref(day, shard), data=fields)
        if "reservedMicroUsd" in stored.data:
            fields["reservedMicroUsd"] = {}
        changes: dict[FieldPath, Any] = {(name,): value for name, value in fields.items()}
        return Update(ref=stored.ref, changes=changes, guard=stored.version)


def _ref(day: date, shard: int) -> DocumentRef:
    name = f"day~{day}" if shard == 0 else f"day~{day}~{shard}"
    return DocumentRef(COLLECTION, name)
