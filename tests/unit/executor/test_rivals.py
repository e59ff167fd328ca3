"""Pure decisions: when a run is read again before a step's end, and how long ends wait."""

from typing import Any

import pytest

from executor.jobs.rivals import (
    FEW,
    LONGEST_SPREAD_SECONDS,
    SLOT_SECONDS,
    StepTimes,
    first_spread,
    reads_first,
    rivals,
    spread,
)
from shared.domain.identifiers import StepId

OURS = StepId("ours")


def run_of(**statuses: object) -> dict[str, Any]:
    steps = {name: {"status": status} for name, status in statuses.items()}
    return {"steps": {OURS: {"status": "RUNNING"}, **steps}}


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ({}, 0),
        ({"a": "RUNNING"}, 1),
        ({"a": "READY", "b": "RUNNING"}, 2),
        (
            {"a": "PENDING", "b": "SUCCEEDED", "c": "FAILED", "d": "SKIPPED", "e": "CANCELLED"},
            0,
        ),
        ({"a": None, "b": 7, "c": ["RUNNING"]}, 0),
    ],
)
def test_who_works_at_another_step_of_the_run_is_a_rival(
    statuses: dict[str, object], expected: int
) -> None:
    assert rivals(run_of(**statuses), OURS) == expected


@pytest.mark.parametrize(
    "odd", [{}, {"steps": None}, {"steps": ["RUNNING"]}, {"steps": {"a": 1}}]
)
def test_a_run_that_is_odd_has_no_rivals(odd: dict[str, Any]) -> None:
    assert rivals(odd, OURS) == 0


@pytest.mark.parametrize(
    ("elsewhere", "newest_known", "slower", "reads"),
    [
        (0, False, 0.0, False),
        (1, False, 0.0, True),
        (9, False, 0.0, True),
        (9, True, 0.0, False),
        (-1, False, 0.0, False),
        (1, False, 0.5, True),
        (1, False, 0.51, False),
        (3, False, 0.79, True),
        (3, False, 0.8, False),
        (4, False, 1.0, True),
        (49, False, 1.0, True),
    ],
)
def test_the_run_is_read_again_where_somebody_else_has_probably_written_it(
    *, elsewhere: int, newest_known: bool, slower: float, reads: bool
) -> None:
    assert reads_first(elsewhere, newest_known=newest_known, slower=slower) is reads


def test_few_steps_prove_little_of_how_long_a_step_takes() -> None:
    times = StepTimes()
    shares = []
    for seconds in range(4):
        shares.append(times.slower_than(-1, flow=None))
        times.remember(seconds, flow=None)

    assert shares == [0, 1 / 2, 2 / 3, 3 / 4]
    assert times.slower_than(1, flow=None) == 2 / 5
    assert times.slower_than(3, flow=None) == 0


def test_only_the_last_steps_tell_how_long_a_step_takes() -> None:
    times = StepTimes()
    for _ in range(64):
        times.remember(1_000, flow="daily")
    for _ in range(64):
        times.remember(1, flow="daily")

    assert times.slower_than(1, flow="daily") == 0


def test_a_quick_flow_is_not_early_because_another_is_slow() -> None:
    times = StepTimes()
    for _ in range(64):
        times.remember(1_000, flow="weekly")
        times.remember(1, flow="daily")

    assert times.slower_than(1, flow="daily") == 0
    assert times.slower_than(1, flow="weekly") > 0.98


def test_the_flows_that_ended_a_step_last_are_remembered() -> None:
    times = StepTimes()
    for number in range(64):
        times.remember(2, flow=f"flow-{number}")
    times.remember(2, flow="flow-0")
    times.remember(2, flow="another")

    assert times.slower_than(1, flow="flow-0") > 0
    assert times.slower_than(1, flow="flow-1") == 0


def test_only_many_rivals_make_a_first_commit_wait() -> None:
    assert first_spread(0) == first_spread(FEW) == 0
    assert first_spread(FEW + 10) == 10 * SLOT_SECONDS


def test_after_a_lost_race_each_rival_has_a_slot_as_long_as_a_try_took() -> None:
    assert spread(-1, slot_seconds=1.0) == spread(0, slot_seconds=1.0) == 0
    assert spread(4, slot_seconds=0.0) == 4 * SLOT_SECONDS
    assert spread(4, slot_seconds=0.5) == 2.0
    assert spread(10_000, slot_seconds=0.5) == LONGEST_SPREAD_SECONDS
