"""The difference of two variants on the same cases: its size, its interval, its p-value.

The interval is a paired bootstrap: cases are drawn again with replacement, each with both of
its values. The p-value is that of a paired randomization test: if the variants did not differ,
each case's difference could as well have the other sign. That test needs no assumption about
how values are distributed, and keeps its error rate with few cases and with rare events, where
a bootstrap interval is too short (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
chapters 13 and 15).
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
CONFIDENCE = 0.95
POWER = 0.8
#: Up to so many cases that differ, all signs are tried: 16,384 of them.
_MOST_ENUMERATED = 14
#: Sums of the same values in different orders may differ by this share of their size.
_ROUNDING = 1e-9
#: Rows of resamples at a time: bounds memory to some tens of megabytes.
_ROWS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedDifference:
    """The mean of candidate minus baseline, over the cases that have both."""

    cases: int
    #: Cases whose two values are not equal.
    differing: int
    mean: float
    #: The bootstrap interval of the mean at `CONFIDENCE`.
    low: float
    high: float
    #: Standard deviation of a case's difference.
    deviation: float
    #: How likely a mean at least so low is, if the variants do not differ.
    p_lower: float
    #: How likely a mean at least so high is, if the variants do not differ.
    p_higher: float

    @property
    def p_value(self) -> float:
        """How likely a mean at least so far from 0, on either side, is then."""
        return min(1.0, 2 * min(self.p_lower, self.p_higher))

    @property
    def least_p_value(self) -> float:
        """The p-value if all cases that differ did so on the same side."""
        return min(1.0, 2.0 * 0.5**self.differing)


def paired_difference(differences: Sequence[float], *, seed: int) -> PairedDifference:
    """The difference of the variants; equal arguments give equal results.

    Raises:
        ValueError: there is no case.
    """
    if not differences:
        raise ValueError("no case has a value of both variants")
    values = np.asarray(differences, dtype=float)
    chance = np.random.default_rng(seed)
    low, high = _bootstrap(values, chance)
    p_lower, p_higher = _randomization(values, chance)
    return PairedDifference(
        cases=len(values),
        differing=int((values != 0).sum()),
        mean=float(values.mean()),
        low=low,
        high=high,
        deviation=float(values.std(ddof=1)) if len(values) > 1 else 0.0,
        p_lower=p_lower,
        p_higher=p_higher,
    )


def needed_cases(
    deviation: float, effect: float, *, error_rate: float = 1 - CONFIDENCE
) -> int | None:
    """So many cases find this effect in 80 of 100 evaluations; None where nothing varies.

    By the normal approximation: ((z(1 - error/2) + z(power)) * deviation / effect) squared.
    """
    if not effect or not deviation:
        return None
    normal = NormalDist()
    reach = normal.inv_cdf(1 - error_rate / 2) + normal.inv_cdf(POWER)
    return math.ceil((reach * deviation / abs(effect)) ** 2)


def found_beyond_chance(
    differences: Sequence[PairedDifference], *, error_rate: float
) -> list[bool]:
    """Which of several differences are found, with one error rate for all of them together.

    In `error_rate` of all evaluations of equal variants, at most, is any difference found:
    Holm's step-down procedure (Scandinavian Journal of Statistics 6, 1979), over those of which
    so many cases differ that they could be found at all (Tarone, Biometrics 46, 1990).
    """
    findable = _findable([each.least_p_value for each in differences], error_rate)
    order = sorted(findable, key=lambda index: differences[index].p_value)
    found = [False] * len(differences)
    for rank, index in enumerate(order):
        if differences[index].p_value > error_rate / (len(order) - rank):
            break
        found[index] = True
    return found


def _findable(least: Sequence[float], error_rate: float) -> list[int]:
    for size in range(1, len(least) + 1):
        some = [index for index, value in enumerate(least) if value <= error_rate / size]
        if len(some) <= size:
            return some
    return list(range(len(least)))


def _bootstrap(values: NDArray[np.float64], chance: np.random.Generator) -> tuple[float, float]:
    means = [
        values[chance.integers(0, len(values), size=(_ROWS, len(values)))].mean(axis=1)
        for _ in range(RESAMPLES // _ROWS)
    ]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(low), float(high)


def _randomization(
    values: NDArray[np.float64], chance: np.random.Generator
) -> tuple[float, float]:
    """The p-values of a mean as low, and as high; cases that do not differ say nothing."""
    differing = values[values != 0]
    if not len(differing):
        return 1.0, 1.0
    slack = _ROUNDING * float(np.abs(differing).sum())
    observed = float(differing.sum())
    if len(differing) <= _MOST_ENUMERATED:
        signs = np.array(list(itertools.product((-1.0, 1.0), repeat=len(differing))))
        sums = signs @ differing
        return float((sums <= observed + slack).mean()), float(
            (sums >= observed - slack).mean()
        )
    lower = higher = 1  # What was seen is one of the possible draws.
    for _ in range(RESAMPLES // _ROWS):
        signs = chance.integers(0, 2, size=(_ROWS, len(differing))) * 2.0 - 1.0
        sums = signs @ differing
        lower += int((sums <= observed + slack).sum())
        higher += int((sums >= observed - slack).sum())
    return lower / (RESAMPLES + 1), higher / (RESAMPLES + 1)
