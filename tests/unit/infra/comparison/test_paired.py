"""The paired comparison: known values, and its error rate where nothing differs."""

import math
import random

import pytest

from infra.ops.comparison.paired import (
    PairedDifference,
    found_beyond_chance,
    needed_cases,
    paired_difference,
)
from infra.ops.comparison.power import power_of_rate


def test_one_sided_p_values_of_few_cases_are_those_of_the_sign_test() -> None:
    five_losses = paired_difference([-1.0] * 5 + [0.0] * 195, seed=1)

    assert five_losses.p_lower == pytest.approx(2**-5)
    assert five_losses.p_higher == 1.0
    assert five_losses.p_value == pytest.approx(2 * 2**-5)


def test_the_mean_lies_in_its_interval_and_the_interval_shrinks_with_more_cases() -> None:
    chance = random.Random(7)
    values = [chance.gauss(0.5, 1.0) for _ in range(1600)]

    few, many = paired_difference(values[:100], seed=1), paired_difference(values, seed=1)

    assert few.low < few.mean < few.high
    # An interval over 1,600 cases is a quarter as long as one over 100: 3.92 standard errors.
    assert many.high - many.low == pytest.approx(3.92 * many.deviation / 40, rel=0.05)
    assert few.high - few.low == pytest.approx(4 * (many.high - many.low), rel=0.25)


def test_equal_arguments_give_equal_results() -> None:
    values = [math.sin(number) for number in range(60)]

    assert paired_difference(values, seed=3) == paired_difference(values, seed=3)


def test_cases_that_do_not_differ_are_no_evidence() -> None:
    same = paired_difference([0.0] * 200, seed=1)

    assert (same.mean, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    assert needed_cases(same.deviation, same.mean) is None


def test_without_a_case_there_is_no_difference() -> None:
    with pytest.raises(ValueError, match="no case"):
        paired_difference([], seed=1)


def test_needed_cases_are_those_of_the_textbook() -> None:
    # The expected number is (1.95996 + 0.84162)^2 * 4 for an effect of half a standard
    # deviation.
    assert needed_cases(1.0, 0.5) == 32
    assert needed_cases(1.0, -0.25) == 126


def difference(p_value: float, differing: int = 100) -> PairedDifference:
    return PairedDifference(
        cases=200,
        differing=differing,
        mean=-0.1,
        low=-0.2,
        high=0.0,
        deviation=1.0,
        p_lower=p_value / 2,
        p_higher=1.0,
    )


def found(*differences: PairedDifference) -> list[bool]:
    return found_beyond_chance(differences, error_rate=0.05)


def test_several_differences_share_one_error_rate() -> None:
    # In order: 0.001 <= 0.05/4, 0.015 <= 0.05/3, 0.020 <= 0.05/2, 0.30 > 0.05.
    four = [difference(p) for p in (0.30, 0.001, 0.020, 0.015)]

    assert found(*four) == [False, True, True, True]
    assert found(difference(0.02), difference(0.04)) == [True, True]
    assert found(difference(0.03), difference(0.04)) == [False, False]


def test_a_measure_that_could_not_be_found_does_not_make_the_others_harder_to_find() -> None:
    nothing_differs = difference(1.0, differing=0)

    assert found(difference(0.04), nothing_differs, nothing_differs) == [True, False, False]
    assert found(difference(0.04), difference(0.9), difference(0.9)) == [False] * 3
    assert found(nothing_differs, nothing_differs) == [False, False]


def test_of_many_comparisons_of_equal_variants_few_are_found() -> None:
    chance = random.Random(11)
    count = 0
    for seed in range(150):
        differences = [
            float(chance.random() < 0.03) - float(chance.random() < 0.03) for _ in range(200)
        ]
        count += paired_difference(differences, seed=seed).p_value <= 0.05

    # At most 5 % are allowed, plus four standard deviations of a count of 150.
    assert count <= 150 * 0.05 + 4 * math.sqrt(150 * 0.05 * 0.95)


def test_the_power_that_is_stated_is_the_share_that_is_found() -> None:
    chance = random.Random(5)
    count = 0
    for seed in range(100):
        differences = [
            float(chance.random() < 0.92) - float(chance.random() < 0.97) for _ in range(200)
        ]
        count += paired_difference(differences, seed=seed).p_lower <= 0.05

    stated = power_of_rate(200, base=0.97, loss=0.05, error_rate=0.05)
    assert count / 100 == pytest.approx(stated, abs=4 * math.sqrt(0.25 / 100))
    assert power_of_rate(800, base=0.97, loss=0.05, error_rate=0.05) > 0.99
    assert power_of_rate(200, base=0.97, loss=0.0, error_rate=0.05) <= 0.05
