"""The day's ceiling in slices: pure.

An instance takes a slice of what the day has left, and grants calls from it without asking
anybody. What it has spent goes to the account with its next slice. A slice counts in full until
its holder settles it; once it has expired, it counts as spent.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from executor.billing.prices import FREE, MicroUsd
from shared.domain.times import parse_time

#: Longer than any invocation: a holder that lives settles before.
SLICE_LASTS = timedelta(minutes=30)
#: A slice takes at most this part of what is left, so that slices shrink towards the ceiling.
LARGEST_PART = 16
#: But it is for so many calls where there is room, for an instance that has made calls: one
#: costs less than its worst case, and what it leaves is for the next. Slices for a single call
#: would be a commit a call.
LEAST_CALLS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """What one instance may spend."""

    amount: MicroUsd
    expires_at: datetime
    #: New for every write of its holder, who so knows a write whose answer was lost.
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DayAccount:
    """The spending of one day, or of one of the shards that share its ceiling."""

    ceiling: MicroUsd
    spent: MicroUsd = FREE
    #: By instance.
    slices: Mapping[str, Slice] = field(default_factory=dict)

    def held_by_others(self, holder: str) -> MicroUsd:
        """What other instances may still spend."""
        return MicroUsd(sum(s.amount for name, s in self.slices.items() if name != holder))

    def room(self, holder: str, *, spent: MicroUsd, held: MicroUsd) -> MicroUsd:
        """What is left beside this much that the holder has spent, and holds for calls."""
        taken = self.spent + spent + held + self.held_by_others(holder)
        return MicroUsd(self.ceiling - taken)

    def with_slice(self, holder: str, *, spent: MicroUsd, mine: Slice | None) -> "DayAccount":
        """The account after the holder settled what it spent, and took a slice or none."""
        others = {name: s for name, s in self.slices.items() if name != holder}
        slices = others if mine is None else {**others, holder: mine}
        return replace(self, spent=MicroUsd(self.spent + spent), slices=slices)

    def as_document(self) -> dict[str, Any]:
        """The fields as they are stored."""
        return {
            "scope": "day",
            "spentMicroUsd": self.spent,
            "slices": {
                name: {
                    "microUsd": s.amount,
                    "expiresAt": s.expires_at,
                    "revision": s.revision,
                }
                for name, s in self.slices.items()
            },
        }


def parse_day(
    data: Mapping[str, Any] | None, *, ceiling: MicroUsd, now: datetime
) -> DayAccount:
    """The account that was stored; what has expired by now has been spent."""
    stored = data or {}
    spent = int(stored.get("spentMicroUsd", 0))
    # An account of a former version holds calls instead.
    spent += sum(int(amount) for amount in stored.get("reservedMicroUsd", {}).values())
    slices: dict[str, Slice] = {}
    for name, entry in stored.get("slices", {}).items():
        amount = MicroUsd(int(entry["microUsd"]))
        expires_at = parse_time(entry["expiresAt"])
        if expires_at is None or expires_at <= now:
            spent += amount
        else:
            revision = int(entry["revision"])
            slices[name] = Slice(amount=amount, expires_at=expires_at, revision=revision)
    return DayAccount(ceiling=ceiling, spent=MicroUsd(spent), slices=slices)


def fresh_amount(
    room: MicroUsd, *, need: MicroUsd, wanted: MicroUsd, at_work: bool
) -> MicroUsd:
    """How much of the room a slice takes: what is needed, and more while there is plenty.

    Args:
        room: what nobody has spent or reserved.
        need: what the next call may cost.
        wanted: what the instance is likely to need.
        at_work: whether the instance has made calls from a slice before. One that has not may
            make no further call, so it takes no room for one: others may need it.
    """
    least = min(LEAST_CALLS * need, room) if at_work else need
    return MicroUsd(max(need, min(wanted, max(room // LARGEST_PART, least))))
