"""Figures with their spread; nothing here is ever asserted by a test."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A median with the quartiles around it, of so many samples."""

    median: float
    low: float
    high: float
    samples: int

    def __str__(self) -> str:
        return f"{_short(self.median)} ({_short(self.low)} to {_short(self.high)})"

    def times(self, factor: float) -> "Figure":
        """The figure in another unit."""
        return Figure(
            median=self.median * factor,
            low=self.low * factor,
            high=self.high * factor,
            samples=self.samples,
        )


def figure(samples: Sequence[float]) -> Figure:
    """Median and quartiles of at least two samples."""
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
    return Figure(median=median, low=low, high=high, samples=len(samples))


def percentile(samples: Sequence[float], part: float) -> float:
    """The smallest sample that at least this part (0 to 1) of all do not exceed."""
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Figure:
    """Ours over theirs, pair by pair: both were taken in turn, so noise hits both alike."""
    return figure([one / other for one, other in zip(ours, theirs, strict=True)])


def _short(value: float) -> str:
    return f"{value:.3g}"
