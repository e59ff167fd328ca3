"""The machine's clock."""

import time
from datetime import UTC, datetime


class SystemClock:
    """The time of this machine; implements the Clock port."""

    def now(self) -> datetime:
        """The time of day, in UTC."""
        return datetime.now(UTC)  # noqa: TID251 -- the one place where time comes in

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        return time.monotonic()
