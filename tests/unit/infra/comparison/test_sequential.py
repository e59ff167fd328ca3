"""The sequential test: it is right at every look, and useful after a few hundred steps."""

import random

import pytest

from infra.ops.comparison.sequential import Arm, Decision, compare, confidence_sequence


def stream(seed: int, control: float, canary: float, steps: int) -> tuple[Decision, int]:
    """The first decision that is reached when one looks after each pair of steps."""
    chance = random.Random(seed)
    one, other = Arm(), Arm()
    for number in range(1, steps + 1):
        one = Arm(good=one.good + (chance.random() < control), ended=number)
        other = Arm(good=other.good + (chance.random() < canary), ended=number)
        found = compare(one, other, margin=0.1, error_rate=0.05)
        if found.decision is not Decision.CONTINUE:
            return found.decision, number
    return Decision.CONTINUE, steps


def test_equal_prompts_are_hardly_ever_stopped_however_often_one_looks() -> None:
    decisions = [stream(seed, 0.95, 0.95, 200)[0] for seed in range(100)]

    assert decisions.count(Decision.STOP) <= 5


def test_a_canary_that_loses_a_fifth_is_stopped_before_it_has_seen_many_steps() -> None:
    found = [stream(seed, 0.97, 0.77, 400) for seed in range(20)]

    assert all(decision is Decision.STOP for decision, _ in found)
    assert max(steps for _, steps in found) < 250


def test_a_canary_that_is_as_good_is_done_in_the_end() -> None:
    found = [stream(seed, 0.98, 0.98, 600)[0] for seed in range(20)]

    assert found.count(Decision.DONE) >= 18
    assert Decision.STOP not in found


def test_before_the_first_step_nothing_is_known() -> None:
    found = compare(Arm(), Arm(), margin=0.02, error_rate=0.05)

    assert (found.decision, found.low, found.high) == (Decision.CONTINUE, -1.0, 1.0)
    assert Arm().rate is None


@pytest.mark.parametrize("good", [0, 1, 7, 50, 99, 100])
def test_the_interval_holds_the_rate_that_was_seen_and_stays_between_0_and_1(good: int) -> None:
    low, high = confidence_sequence(Arm(good=good, ended=100), 0.05)

    assert 0 <= low <= good / 100 <= high <= 1


def test_the_sequence_leaves_out_the_true_rate_no_more_often_than_stated() -> None:
    chance = random.Random(3)
    left_out = 0
    for _ in range(100):
        good, missed = 0, False
        for number in range(1, 201):
            good += chance.random() < 0.9
            low, high = confidence_sequence(Arm(good=good, ended=number), 0.05)
            missed = missed or not low <= 0.9 <= high
        left_out += missed

    assert left_out <= 5
