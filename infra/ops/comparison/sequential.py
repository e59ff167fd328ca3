"""A comparison that may be looked at after every step: continue, stop or done.

A usual interval is right once, at a size that was fixed before. If it is looked at after each
step, and the first bad one stops the trial, good prompts are stopped too. A confidence sequence
holds at all times together, so looking costs nothing: the chance that it ever leaves out the
true rate is at most its error rate (H. Robbins, Annals of Mathematical Statistics 41, 1970: the
mixture of the likelihood ratio over all rates, here with a uniform weight).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

#: Halvings of an interval of rates: far finer than a rate is ever read.
_BISECTIONS = 30


class Decision(StrEnum):
    """What to do with a canary."""

    CONTINUE = "continue"  #: Too little is known: let more runs come in.
    STOP = "stop"  #: The canary is worse: take it back.
    DONE = "done"  #: The canary is not worse by more than the margin: roll it out.


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """The steps of one prompt that have ended, and how many of them well."""

    good: int = 0
    ended: int = 0

    @property
    def rate(self) -> float | None:
        """The share that ended well; None before the first."""
        return self.good / self.ended if self.ended else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Canary minus control, and what follows from it."""

    decision: Decision
    low: float
    high: float


def compare(control: Arm, canary: Arm, *, margin: float, error_rate: float) -> Comparison:
    """What the steps so far say, with an interval that holds at every look.

    Args:
        control: the prompt in use.
        canary: the prompt on trial.
        margin: a loss of so much of the rate (0.02: two points) is taken for equal.
        error_rate: the chance of a wrong `stop` or `done` over all looks together.
    """
    one, other = (confidence_sequence(arm, error_rate / 2) for arm in (control, canary))
    low, high = other[0] - one[1], other[1] - one[0]
    if high < 0:
        return Comparison(decision=Decision.STOP, low=low, high=high)
    if low > -margin:
        return Comparison(decision=Decision.DONE, low=low, high=high)
    return Comparison(decision=Decision.CONTINUE, low=low, high=high)


def confidence_sequence(arm: Arm, error_rate: float) -> tuple[float, float]:
    """The rates that the arm's steps do not speak against."""
    if not arm.ended:
        return 0.0, 1.0
    good, bad = arm.good, arm.ended - arm.good
    mixture = math.lgamma(good + 1) + math.lgamma(bad + 1) - math.lgamma(arm.ended + 2)
    least = mixture + math.log(error_rate)

    def plausible(rate: float) -> bool:
        return _log_power(rate, good) + _log_power(1 - rate, bad) > least

    likeliest = good / arm.ended
    return (
        0.0 if plausible(0.0) else _border(plausible, likeliest, 0.0),
        1.0 if plausible(1.0) else _border(plausible, likeliest, 1.0),
    )


def _log_power(base: float, exponent: int) -> float:
    if exponent == 0:
        return 0.0
    return exponent * math.log(base) if base > 0 else -math.inf


def _border(plausible: Callable[[float], bool], inside: float, outside: float) -> float:
    for _ in range(_BISECTIONS):
        middle = (inside + outside) / 2
        if plausible(middle):
            inside = middle
        else:
            outside = middle
    return outside
