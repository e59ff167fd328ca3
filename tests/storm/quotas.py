"""How providers limit calls: each way is a small state machine in virtual time."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from shared.domain.errors import (
    GeminiRequestFailed,
    QuotaKind,
    RateLimited,
    RetryableError,
)

MINUTE, DAY = 60.0, 86_400.0


class Quota(Protocol):
    """Decides which calls are taken."""

    def ask(self, seconds: float) -> RetryableError | None:
        """Take a call that comes now, or refuse it with this error."""
        ...


def limited(
    delay_seconds: float | None = None, *, of: QuotaKind = QuotaKind.MINUTE
) -> RateLimited:
    """A refusal, with the provider's delay or, as a crowded pool says it, without."""
    if delay_seconds is None:
        return RateLimited("simulated")
    delay = timedelta(seconds=delay_seconds)
    return RateLimited("simulated", retry_after=delay, quota=of)


@dataclass(slots=True, kw_only=True)
class FixedWindow:
    """Takes this many calls in every minute of the clock."""

    limit: int
    delays: bool
    #: Where the minutes begin.
    phase: float = 0.0
    _window: int = -1
    _taken: int = 0

    def ask(self, seconds: float) -> RetryableError | None:
        """See `Quota`."""
        window, into = divmod(seconds + self.phase, MINUTE)
        if window != self._window:
            self._window, self._taken = int(window), 0
        if self._taken >= self.limit:
            return limited(MINUTE - into if self.delays else None)
        self._taken += 1
        return None


@dataclass(slots=True, kw_only=True)
class DayQuota:
    """Takes this many calls in a day, which has just begun."""

    limit: int
    delays: bool
    _taken: int = 0

    def ask(self, seconds: float) -> RetryableError | None:
        """See `Quota`."""
        if self._taken >= self.limit:
            return limited(DAY - seconds if self.delays else None, of=QuotaKind.DAY)
        self._taken += 1
        return None


@dataclass(slots=True, kw_only=True)
class SlidingWindow:
    """Takes this many calls in any sixty seconds."""

    limit: int
    delays: bool
    _taken: deque[float] = field(default_factory=deque)

    def ask(self, seconds: float) -> RetryableError | None:
        """See `Quota`."""
        while self._taken and self._taken[0] <= seconds - MINUTE:
            self._taken.popleft()
        if len(self._taken) >= self.limit:
            wait = self._taken[0] + MINUTE - seconds
            return limited(wait if self.delays else None)
        self._taken.append(seconds)
        return None


@dataclass(slots=True, kw_only=True)
class Bucket:
    """A bucket that fills at a rate, which may change with time."""

    #: The rate at a time: calls a minute, by seconds.
    rate: Callable[[float], float]
    capacity: float
    delays: bool
    #: What was offered so far, beyond the content of the full bucket at the beginning.
    offered: float = 0.0
    _level: float = field(init=False)
    _at: float = 0.0

    def __post_init__(self) -> None:
        self._level = self.capacity

    def ask(self, seconds: float) -> RetryableError | None:
        """See `Quota`."""
        self.fill(seconds)
        if self._level >= 1:
            self._level -= 1
            return None
        wait = (1 - self._level) / self.rate(seconds) * MINUTE
        return limited(wait if self.delays else None)

    def fill(self, seconds: float) -> None:
        """Let time pass, in pieces of a second at most."""
        while self._at < seconds:
            step = min(1.0, seconds - self._at)
            come = self.rate(self._at) / MINUTE * step
            self.offered += come
            self._level = min(self.capacity, self._level + come)
            self._at += step


@dataclass(slots=True, kw_only=True)
class Outage:
    """Refuses everything until its end: half of the time as limited, half as overloaded."""

    until: float
    then: Quota

    def ask(self, seconds: float) -> RetryableError | None:
        """See `Quota`."""
        if seconds >= self.until:
            return self.then.ask(seconds)
        if seconds < self.until / 2:
            return limited()
        return GeminiRequestFailed("overloaded", refused=True)


@dataclass(slots=True)
class Open:
    """Takes every call."""

    def ask(self, seconds: float) -> RetryableError | None:
        """See `Quota`."""
        del seconds
        return None
