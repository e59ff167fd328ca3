"""What billing needs to know of an invocation's deadline."""

from typing import Protocol


class TimeLeft(Protocol):
    """Until when the ledger may be asked; see `executor.jobs.deadline`."""

    def remaining(self) -> float:
        """Seconds left for everything, finalizing included; never negative."""
        ...

    def available(self) -> float:
        """Seconds left for work that is not finalizing; never negative."""
        ...
