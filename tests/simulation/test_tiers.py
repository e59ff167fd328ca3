"""Several service tiers and every crash: never two calls at work, none dearer than needed."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.simulation.explore import calm_case, tier_case
from tests.simulation.nemesis import APPLICABLE, Fault, Injected, Kind
from tests.simulation.simulate import Case, simulate
from tests.simulation.stages import TIER_MODES

CRASHES = {Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.TERMINATE}
SEEDS = 120
#: The scenario whose flex call is still at work when the dearer tier must begin.
SLOW_SEED = next(
    seed
    for seed in range(100)
    if simulate(replace(calm_case("single", "background_tiers"), seed=seed)).model_calls == 2
)


def slow(mode: str) -> Case:
    return replace(calm_case("single", mode), seed=SLOW_SEED)


def crashes(case: Case) -> Iterator[Case]:
    """The case with a crash at each operation that begins, stops or keeps calls."""
    kinds = simulate(case).operations
    begun = kinds.index(Kind.BEGIN)
    for number, kind in enumerate(kinds[begun:], start=begun):
        if kind in {Kind.BEGIN, Kind.ASK, Kind.COMMIT, Kind.FORGET}:
            for fault in CRASHES & {*APPLICABLE[kind]}:
                yield replace(case, script=(Injected(number, fault),))


def test_a_call_that_is_too_slow_is_stopped_and_asked_of_the_dearer_tier() -> None:
    result = simulate(slow("background_tiers"))

    assert not result.violations
    assert set(result.ends.values()) == {"SUCCEEDED"}
    assert result.operations.count(Kind.BEGIN) == 2


def test_where_a_call_may_be_made_once_only_the_slow_one_is_waited_for() -> None:
    result = simulate(slow("background_tiers_at_most_once"))

    assert not result.violations
    assert set(result.ends.values()) == {"SUCCEEDED"}
    assert result.operations.count(Kind.BEGIN) == 1


@pytest.mark.parametrize("mode", TIER_MODES)
def test_no_crash_breaks_a_promise_while_a_call_is_stopped_for_another(mode: str) -> None:
    for case in crashes(slow(mode)):
        assert not simulate(case).violations, case


def test_no_promise_is_broken_in_any_of_some_random_runs() -> None:
    for seed in range(SEEDS):
        assert not simulate(tier_case(seed)).violations, tier_case(seed)
