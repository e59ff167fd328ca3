"""One deadline per invocation, asked before every external call."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """When the work of an invocation must be over, on a monotonic clock, in seconds.

    The last `reserve_seconds` belong to finalizing: no other call may start in them, or
    run into them.
    """

    ends_at: float
    reserve_seconds: float

    def remaining(self, now: float) -> float:
        """Seconds left for everything, finalizing included; never negative."""
        return max(0.0, self.ends_at - now)

    def available(self, now: float) -> float:
        """Seconds left for work that is not finalizing; never negative."""
        return max(0.0, self.ends_at - self.reserve_seconds - now)

    def allows(self, seconds: float, now: float) -> bool:
        """Whether a call of at most this many seconds ends before the reserve begins."""
        return seconds <= self.available(now)
