"""How many cases find a loss of valid answers: exact, for the test that `paired` makes."""

import math
from functools import cache


def power_of_rate(cases: int, *, base: float, loss: float, error_rate: float) -> float:
    """The share of evaluations that find the loss, where a rate of `base` falls by `loss`.

    A case counts where one variant's answer is valid and the other's is not; both fail
    independently of each other. One-sided, as a stated regression is tested.
    """
    worse = base * (1 - base + loss)
    better = (1 - base) * (base - loss)
    differing = worse + better
    share = worse / differing if differing else 0.0
    return math.fsum(
        _binomial(cases, number, differing) * _found(number, share, error_rate)
        for number in range(cases + 1)
    )


def _found(differing: int, share: float, error_rate: float) -> float:
    """The chance that so many cases that differ are called a loss."""
    return math.fsum(
        _binomial(differing, losses, share)
        for losses in range(_fewest_losses(differing, error_rate), differing + 1)
    )


@cache
def _fewest_losses(differing: int, error_rate: float) -> int:
    """The number of losses from which on the one-sided sign test finds one."""
    tail = 0.0
    for losses in range(differing, -1, -1):
        tail += _binomial(differing, losses, 0.5)
        if tail > error_rate:
            return losses + 1
    return 0


def _binomial(trials: int, number: int, share: float) -> float:
    if share in {0.0, 1.0}:
        return float(number == trials * share)
    logarithm = (
        math.lgamma(trials + 1)
        - math.lgamma(number + 1)
        - math.lgamma(trials - number + 1)
        + number * math.log(share)
        + (trials - number) * math.log1p(-share)
    )
    return math.exp(logarithm)
