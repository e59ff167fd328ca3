"""What a run or a day has spent and may still spend: pure.

An account is charged twice for a call: with the most it can cost before it begins, and with
what it did cost afterwards. Between the two the larger amount stands, also when the caller
dies. So the sum of an account never passes its ceiling as long as no call costs more than was
reserved for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from executor.billing.prices import FREE, MicroUsd, usd
from shared.domain.errors import CostCeilingExceeded


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """The most that may be spent; None is no ceiling."""

    per_run: MicroUsd | None = None
    #: Of one day (UTC), over all runs.
    per_day: MicroUsd | None = None

    def __bool__(self) -> bool:
        return self.per_run is not None or self.per_day is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The spending of one run, or of one day (UTC)."""

    #: `run` or `day`, as messages call it.
    scope: str
    ceiling: MicroUsd | None
    spent: MicroUsd = FREE
    #: By call: the most that it can cost, until it is known what it did.
    reserved: Mapping[str, MicroUsd] = field(default_factory=dict)

    @property
    def total(self) -> MicroUsd:
        """What counts against the ceiling."""
        return MicroUsd(self.spent + sum(self.reserved.values()))

    def reserve(self, call: str, amount: MicroUsd) -> "Account":
        """The account that stands ready for the call; reserving again holds the larger amount.

        Raises:
            CostCeilingExceeded: the amount does not fit any more.
        """
        former = self.reserved.get(call, FREE)
        if call in self.reserved and amount <= former:
            return self
        if self.ceiling is not None and self.total - former + amount > self.ceiling:
            raise CostCeilingExceeded(
                f"this call may cost {usd(amount):.6f} USD, and the {self.scope} has"
                f" {usd(self.total):.6f} of {usd(self.ceiling):.6f} USD spent or reserved",
                details={
                    "scope": self.scope,
                    "ceilingUsd": usd(self.ceiling),
                    "spentUsd": usd(self.spent),
                    "reservedUsd": usd(MicroUsd(self.total - self.spent)),
                    "neededUsd": usd(amount),
                },
            )
        return replace(self, reserved={**self.reserved, call: amount})

    def charge(self, call: str, cost: MicroUsd | None) -> "Account":
        """The account after the call; without a known cost it is taken to be all reserved.

        Settling again changes nothing.
        """
        if call not in self.reserved:
            return self
        amount = self.reserved[call] if cost is None else cost
        others = {name: held for name, held in self.reserved.items() if name != call}
        return replace(self, spent=MicroUsd(self.spent + amount), reserved=others)

    def as_document(self) -> dict[str, Any]:
        """The fields as they are stored."""
        return {
            "scope": self.scope,
            "spentMicroUsd": self.spent,
            "reservedMicroUsd": dict(self.reserved),
        }


def parse_account(
    data: Mapping[str, Any] | None, *, scope: str, ceiling: MicroUsd | None
) -> Account:
    """The account that `Account.as_document` stored; an empty one where nothing is."""
    if data is None:
        return Account(scope=scope, ceiling=ceiling)
    reserved = data.get("reservedMicroUsd", {})
    return Account(
        scope=scope,
        ceiling=ceiling,
        spent=MicroUsd(int(data.get("spentMicroUsd", 0))),
        reserved={name: MicroUsd(int(amount)) for name, amount in reserved.items()},
    )
