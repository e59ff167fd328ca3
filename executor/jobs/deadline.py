"""One deadline per invocation, asked before every external call."""

from dataclasses import dataclass

from shared.ports import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """When the work of an invocation must be over, in seconds of its clock's monotonic time.

    The last `reserve_seconds` belong to finalizing: no other call may start in them, or
    run into them.
    """

    clock: Clock
    ends_at: float
    reserve_seconds: float

    def remaining(self) -> float:
        """Seconds left for everything, finalizing included; never negative."""
        return max(0.0, self.ends_at - self.clock.monotonic())

    def available(self) -> float:
        """Seconds left for work that is not finalizing; never negative."""
        return max(0.0, self.ends_at - self.reserve_seconds - self.clock.monotonic())

    def allows(self, seconds: float) -> bool:
        """Whether a call of at most this many seconds ends before the reserve begins."""
        return seconds <= self.available()
