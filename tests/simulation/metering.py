"""A provider that takes a limited number of calls: by the minute, by the day, or in outages."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

from shared.domain.errors import RetryableError
from tests.simulation.promises import Promise, Violation
from tests.storm.quotas import (
    Bucket,
    DayQuota,
    FixedWindow,
    Open,
    Outage,
    Quota,
    SlidingWindow,
)

#: REFUSAL_PATIENCE_SECONDS of these runs: a step waits this long for the provider.
PATIENCE_SECONDS = 1_800.0
#: How many refused calls each step may cost, and each minute in which the provider takes
#: nothing. In such a minute single calls try whether it is over, every twelve seconds or so,
#: and again when such a call was lost.
_REFUSED_A_STEP, _REFUSED_A_MINUTE = 4, 6
#: The time from the end of an outage, or of a minute, until the last of a few steps has its
#: turn.
_SPARE_SECONDS = 900.0


class Counted(StrEnum):
    """How the provider counts."""

    WINDOW = "fixed window"
    SLIDING = "sliding window"
    BUCKET = "bucket"
    DAY = "day"
    NOTHING = "nothing"  #: The provider takes every call, once an outage is over.


@dataclass(frozen=True, slots=True, kw_only=True)
class Metering:
    """How many calls the provider takes."""

    counted: Counted
    #: The number of calls in a minute, or in the day.
    limit: int
    #: Whether a refusal says how long to wait.
    delays: bool
    #: The provider refuses everything until this time, in virtual seconds.
    outage_until: float = 0.0

    def quota(self) -> Quota:
        """The provider at the beginning of a run."""
        return Outage(until=self.outage_until, then=self._counting())

    def enough(self, steps: int) -> bool:
        """Whether this many steps all get their call before their patience ends."""
        if self.counted is Counted.DAY and self.limit < steps:
            return False
        minutes = 0 if self.counted in {Counted.DAY, Counted.NOTHING} else steps / self.limit
        return self.outage_until + 60 * minutes + _SPARE_SECONDS <= PATIENCE_SECONDS

    def most_refused(self, steps: int) -> float:
        """How many calls of so many steps may be refused; more mean calls in vain."""
        patience = PATIENCE_SECONDS / 60
        closed = patience if not self.enough(steps) else self.outage_until / 60 + steps
        return _REFUSED_A_STEP * steps + _REFUSED_A_MINUTE * closed

    def _counting(self) -> Quota:
        match self.counted:
            case Counted.WINDOW:
                return FixedWindow(limit=self.limit, delays=self.delays, phase=17.0)
            case Counted.SLIDING:
                return SlidingWindow(limit=self.limit, delays=self.delays)
            case Counted.BUCKET:
                rate = float(self.limit)
                return Bucket(rate=lambda _: rate, capacity=1.0, delays=self.delays)
            case Counted.DAY:
                return DayQuota(limit=self.limit, delays=self.delays)
            case Counted.NOTHING:
                return Open()


def drawn_metering(draw: Random) -> Metering:
    """Draw a provider of any kind."""
    counted = draw.choice(list(Counted))
    outage = counted is Counted.NOTHING or draw.random() < 0.3
    return Metering(
        counted=counted,
        limit=draw.choice((1, 2, 3, 5, 12)),
        delays=draw.random() < 0.5,
        outage_until=draw.choice((60.0, 400.0, 850.0, 10_000.0)) if outage else 0.0,
    )


@dataclass(slots=True)
class Gate:
    """The provider's count in one run."""

    metering: Metering
    taken: int = 0
    refused: int = 0
    _quota: Quota = field(init=False)

    def __post_init__(self) -> None:
        self._quota = self.metering.quota()

    def ask(self, seconds: float) -> RetryableError | None:
        """Take a call that comes now, or refuse it with this error."""
        refusal = self._quota.ask(seconds)
        self.refused += refusal is not None
        self.taken += refusal is None
        return refusal

    def violations(self, steps: int) -> Iterator[Violation]:
        """Whether more calls were refused than it takes to learn that calling is in vain."""
        most = self.metering.most_refused(steps)
        if self.refused > most:
            what = f"{self.refused} calls were refused, {most:.0f} would have told enough"
            yield Violation(Promise.CALL_BUDGET, what)
