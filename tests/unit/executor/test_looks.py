"""When to look for an answer, and how often that is in vain."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.model_calls.looks import FIRST_LOOK, SHORTEST_PAUSE, LookTimes, pause_after

SWEEP = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


def looks(look_times: LookTimes, worked: timedelta) -> list[timedelta]:
    """How long after its call began each look is made: a sweep each minute wakes the job."""
    found = []
    due = look_times.likely("m")
    while True:
        woken = -(-due // SWEEP) * SWEEP
        found.append(woken)
        if woken >= worked:
            look_times.learn("m", worked)
            return found
        due = woken + pause_after(woken, seen=True)


@pytest.mark.parametrize("seconds", [10, 60, 600, 3_600, 86_400])
def test_a_call_like_those_before_is_looked_for_once_within_a_minute_of_its_end(
    seconds: int,
) -> None:
    worked, look_times = timedelta(seconds=seconds), LookTimes()
    first = looks(look_times, worked)

    [look] = looks(look_times, worked)

    assert look - worked <= SWEEP
    assert len(first) <= 50


def test_a_call_of_an_hour_that_nobody_expects_is_looked_for_a_few_times() -> None:
    assert len(looks(LookTimes(), timedelta(hours=1))) <= 12


@given(st.integers(1, 86_400))
def test_looks_in_vain_are_a_bounded_share_of_the_time_apart(seconds: int) -> None:
    at_work = timedelta(seconds=seconds)

    pause = pause_after(at_work, seen=True)
    unseen = pause_after(at_work, seen=False)

    assert SHORTEST_PAUSE <= unseen <= pause
    assert at_work / 10 <= unseen <= max(SHORTEST_PAUSE, at_work / 10)
    assert pause <= max(SHORTEST_PAUSE, at_work / 2)


def test_one_call_that_took_long_does_not_delay_the_others() -> None:
    look_times = LookTimes()
    for _ in range(9):
        look_times.learn("m", 30 * SECOND)
    look_times.learn("m", timedelta(hours=1))

    assert look_times.likely("m") == 30 * SECOND


def test_only_the_latest_calls_of_the_same_model_count() -> None:
    look_times = LookTimes()
    for seconds in [3_600] * 30 + [40] * 20:
        look_times.learn("m", seconds * SECOND)

    assert look_times.likely("m") == 40 * SECOND
    assert look_times.likely("another") == FIRST_LOOK
    assert look_times.likely(None) == FIRST_LOOK


def test_a_look_is_never_due_at_once() -> None:
    look_times = LookTimes()
    look_times.learn("m", timedelta(0))

    assert look_times.likely("m") == SHORTEST_PAUSE
