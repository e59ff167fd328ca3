"""Many histories of the ledger on all processors, and the breakages that they must notice."""

import os
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

import executor.billing.day
import executor.billing.ledger
from executor.billing.accounts import Account
from executor.billing.bills import known_costs
from executor.billing.day import DayBudget
from executor.billing.escrow import DayAccount, parse_day
from executor.billing.ledger import SpendLedger
from executor.billing.prices import FREE, MicroUsd
from shared.domain.jobs import JobRecord
from tests.simulation.campaign import Catch
from tests.simulation.ledger_histories import ledger_history
from tests.simulation.mutations import Mutation, Patch, mutated, registering

#: Each breakage must be noticed within this many histories.
MOST_UNTIL_CAUGHT = 20_000
_CHUNK = 500

LEDGER_MUTATIONS: dict[str, Mutation] = {}
_mutation = registering(LEDGER_MUTATIONS)


@dataclass(slots=True)
class LedgerTally:
    """What many histories showed."""

    histories: int = 0
    calls: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    #: The seeds whose history broke a promise, and how it did.
    broken: list[tuple[int, str]] = field(default_factory=list)
    #: How long all of it took, in real time.
    seconds: float = 0.0

    def add(self, other: "LedgerTally") -> None:
        """Add the figures of another tally."""
        self.histories += other.histories
        self.calls += other.calls
        self.seen += other.seen
        self.broken += other.broken

    def summary(self) -> str:
        """The figures on one line."""
        seen = ", ".join(f"{count} {name}" for name, count in sorted(self.seen.items()))
        return (
            f"{self.histories} histories in {self.seconds:.0f} s"
            f" ({self.histories / max(self.seconds, 0.1):.0f} a second), {self.calls} calls,"
            f" {seen}; {len(self.broken)} broke a promise"
        )


def tallied_histories(seeds: Sequence[int]) -> LedgerTally:
    """Run these histories one after the other."""
    tally = LedgerTally()
    for seed in seeds:
        told = ledger_history(seed)
        tally.histories += 1
        tally.calls += told.calls
        tally.seen += told.seen
        if told.violations:
            tally.broken.append((seed, told.violations[0]))
    return tally


def run_histories(count: int, *, first: int = 0) -> LedgerTally:
    """Run this many histories on all processors."""
    started, total = time.monotonic(), LedgerTally()
    begins = range(first, first + count, _CHUNK)
    chunks = [range(begin, min(begin + _CHUNK, first + count)) for begin in begins]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for tally in pool.map(tallied_histories, chunks):
            total.add(tally)
    total.seconds = time.monotonic() - started
    return total


def ledger_caught(name: str) -> Catch:
    """Run histories with one thing broken until one of them notices it."""
    with mutated(LEDGER_MUTATIONS[name]):
        for seed in range(MOST_UNTIL_CAUGHT):
            violations = ledger_history(seed).violations
            if violations:
                return Catch(name=name, runs=seed + 1, violation=violations[0])
    return Catch(name=name, runs=None)


def catch_all_in_ledger() -> Iterator[Catch]:
    """Try every breakage of the ledger, each in turn."""
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        yield from pool.map(ledger_caught, LEDGER_MUTATIONS)


@_mutation("what a call cost that ended while a slice was written is forgotten")
def _cost_forgotten(patch: Patch) -> None:
    adopt = DayBudget._adopt

    def adopted(self: Any, held: Any, slice_: Any, told: MicroUsd) -> None:
        adopt(self, held, slice_, told)
        held.spent = FREE

    patch.setattr(DayBudget, "_adopt", adopted)


@_mutation("a cost that is not known counts as nothing under the day's ceiling")
def _unknown_day_cost(patch: Patch) -> None:
    charge = DayBudget.charge
    patch.setattr(
        DayBudget, "charge", lambda self, call, cost: charge(self, call, cost or FREE)
    )


@_mutation("a cost that is not known counts as nothing in the run's account")
def _unknown_run_cost(patch: Patch) -> None:
    charge = Account.charge
    patch.setattr(Account, "charge", lambda self, call, cost: charge(self, call, cost or FREE))


@_mutation("a slice whose holder died is free once it has expired")
def _expired_is_free(patch: Patch) -> None:
    def parsed(data: Any, *, ceiling: MicroUsd, now: Any) -> DayAccount:
        kept = {
            name: entry
            for name, entry in (data or {}).get("slices", {}).items()
            if entry["expiresAt"] > now
        }
        return parse_day(data and {**data, "slices": kept}, ceiling=ceiling, now=now)

    patch.setattr(executor.billing.day, "parse_day", parsed)


@_mutation("the slices of other instances do not count")
def _others_ignored(patch: Patch) -> None:
    patch.setattr(DayAccount, "held_by_others", lambda _self, _holder: FREE)


@_mutation("a call that is reserved again keeps its smaller amount")
def _not_raised(patch: Patch) -> None:
    reserve = Account.reserve

    def reserved(self: Account, call: str, amount: MicroUsd) -> Account:
        return self if call in self.reserved else reserve(self, call, amount)

    patch.setattr(Account, "reserve", reserved)


@_mutation("a call is reserved for at today's price, and begins tomorrow")
def _tomorrow_ignored(patch: Patch) -> None:
    within = executor.billing.ledger._BEGINS_WITHIN
    patch.setattr(executor.billing.ledger, "_BEGINS_WITHIN", 0 * within)


@_mutation("an instance that has nothing to do keeps its slice")
def _slice_kept(patch: Patch) -> None:
    async def settle(*_arguments: Any) -> None:
        return None

    patch.setattr(DayBudget, "settle", settle)


@_mutation("what was reserved before midnight is not settled after it")
def _midnight_splits(patch: Patch) -> None:
    settled = SpendLedger._settled

    def of_today(
        self: SpendLedger, run: Account, job: JobRecord, *, kept: str | None
    ) -> Account:
        today = str(self.clock.now().date())
        others = {call: held for call, held in run.reserved.items() if call[:10] != today}
        after = settled(self, run, job, kept=kept)
        return _with_reserved(after, {**after.reserved, **others})

    patch.setattr(SpendLedger, "_settled", of_today)


def _with_reserved(account: Account, reserved: dict[str, MicroUsd]) -> Account:
    return Account(
        scope=account.scope, ceiling=account.ceiling, spent=account.spent, reserved=reserved
    )


@_mutation("a call that could not be booked stays held")
def _unmade_held(patch: Patch) -> None:
    patch.setattr(SpendLedger, "release", lambda _self, _reservation: None)


@_mutation("a call that cost nothing pays for the next one of its number")
def _free_number(patch: Patch) -> None:
    def settled(
        self: SpendLedger, run: Account, job: JobRecord, *, kept: str | None
    ) -> Account:
        claim = executor.billing.ledger._claim(job)
        costs = known_costs(job, self.prices)
        known = {f"{claim}{number}": cost for number, cost in costs}
        for call in run.reserved:
            name = call.partition("/")[2]
            if name.startswith(claim) and kept not in {call, name}:
                run = run.charge(call, self._costs.get(call, known.get(name)))
        return run

    patch.setattr(SpendLedger, "_settled", settled)


@_mutation("an instance reports no more than its last call")
def _last_call_alone(patch: Patch) -> None:
    charge = DayBudget.charge

    def charged(self: DayBudget, call: str, cost: MicroUsd | None) -> None:
        for held in self._slices.values():
            if call in held.calls:
                held.spent = FREE
        charge(self, call, cost)

    patch.setattr(DayBudget, "charge", charged)


@_mutation("a slice is forgotten whose write was given up")
def _slice_forgotten(patch: Patch) -> None:
    settle = DayBudget.settle

    async def settled(self: Any, deadline: Any) -> None:
        for held in self._slices.values():
            held.unanswered.clear()
        await settle(self, deadline)

    patch.setattr(DayBudget, "settle", settled)


@_mutation("a write without an answer told all that is spent by now")
def _told_later(patch: Patch) -> None:
    learn = DayBudget._learn

    def learned(self: Any, held: Any, mine: Any) -> None:
        held.unanswered = dict.fromkeys(held.unanswered, held.spent)
        learn(self, held, mine)

    patch.setattr(DayBudget, "_learn", learned)


@_mutation("every slice that the instance finds is the one that it meant to write")
def _any_slice_found(patch: Patch) -> None:
    learn = DayBudget._learn

    def learned(self: Any, held: Any, mine: Any) -> None:
        if mine is not None:
            held.unanswered.setdefault(mine.revision, held.spent)
        learn(self, held, mine)

    patch.setattr(DayBudget, "_learn", learned)


@_mutation("calls are granted from a slice that may have been given back")
def _granted_unanswered(patch: Patch) -> None:
    def left(self: Any, now: Any) -> MicroUsd:
        unanswered, self.unanswered = self.unanswered, {}
        try:
            return found(self, now)
        finally:
            self.unanswered = unanswered

    found = executor.billing.day._Held.left
    patch.setattr(executor.billing.day._Held, "left", left)


@_mutation("what a write may still reserve in a run's account is not looked after")
def _late_reservation(patch: Patch) -> None:
    settle = SpendLedger.settle

    async def settled(self: SpendLedger, job: JobRecord, deadline: Any) -> None:
        self._unanswered.clear()
        await settle(self, job, deadline)

    patch.setattr(SpendLedger, "settle", settled)
