"""The enumeration is complete within small bounds, repeatable, and finds what it is for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.schedules.breakages import BREAKAGES, broken
from tests.schedules.campaign import enumerate_scene, pool
from tests.schedules.scenes import SCENES
from tests.schedules.search import (
    Bounds,
    Frontier,
    replayed,
    run_path,
    shrunk,
    violations,
)
from tests.schedules.visited import OwnVisited, Spent

#: The bounds of every run of the tests; `make schedules` goes further.
_SMALL = Bounds(preemptions=0, faults=1)
_WITH_STALLS = Bounds(preemptions=0, faults=1, stalls_are_faults=True)


# The largest scene takes a minute of work, which may last ten times as long on a loaded
# machine.
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("scene", "bounds"), [*((scene, _SMALL) for scene in SCENES), ("step", _WITH_STALLS)]
)
def test_no_order_with_one_fault_and_no_preemption_breaks_a_promise(
    scene: str, bounds: Bounds
) -> None:
    frontier, visited = Frontier(), OwnVisited()

    while frontier.waiting:
        [path] = frontier.next(1)
        found = run_path(SCENES[scene], path, bounds, visited)
        assert not found.violations, found
        frontier.add(found)

    assert frontier.schedules > 10


def test_the_same_choices_lead_to_the_same_state() -> None:
    schedule = ("deliver:message-1", "executor-1", "deliver:message-1", "executor-2", "time")
    digests = []

    for _ in range(2):
        with replayed(SCENES["step"], schedule) as execution:
            assert execution.taken == list(schedule)
            digests.append(execution.digest())

    assert digests[0] == digests[1]


@pytest.mark.parametrize("scene", SCENES)
def test_what_never_begins_in_a_scene_is_done_after_it(scene: str) -> None:
    assert not violations(SCENES[scene], ())


def test_a_process_that_is_stopped_is_not_blamed_for_the_time() -> None:
    first = ["deliver:message-1", *["executor-1"] * 3, "time", "time"]
    second = ["deliver:message-1", *["executor-2"] * 2, "time"]

    assert not violations(SCENES["step_hooks"], [*first, *second])


_NAME_OF_A_STATE = """
from tests.schedules.scenes import SCENES
from tests.schedules.search import replayed
with replayed(SCENES["step"], ("deliver:message-1", "executor-1", "executor-1")) as execution:
    print(execution.digest().hex())
"""


def test_a_state_has_the_same_name_in_every_process() -> None:
    names = {
        subprocess.run(
            [sys.executable, "-c", _NAME_OF_A_STATE],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2", "3")
    }

    assert len(names) == 1


def test_a_stall_is_a_preemption_or_a_fault() -> None:
    with replayed(SCENES["step"], ("deliver:message-1",)) as execution:
        [stall] = [choice for choice in execution.choices() if choice.stalls]

    assert Bounds().after(Spent(), stall) == Spent(preemptions=1)
    assert Bounds(stalls_are_faults=True).after(Spent(), stall) == Spent(faults=1)


def test_the_order_of_operations_that_do_not_touch_each_other_is_forgotten() -> None:
    """Two executors read the same records: which was first makes no difference afterwards."""
    starts = ("deliver:message-1", "deliver:message-1")
    digests = []

    for reads in (("executor-1", "executor-2"), ("executor-2", "executor-1")):
        with replayed(SCENES["step"], (*starts, *reads, "executor-1")) as execution:
            digests.append(execution.digest())

    assert digests[0] == digests[1]


def test_a_counterexample_shrinks_to_the_choices_that_matter() -> None:
    with broken("finalize_over_cancelled"):
        long = (
            "deliver:message-1",
            "executor-1",
            "deliver:message-1",
            "executor-2",
            "executor-1",
            "act:cancel",
        )
        shortest = shrunk(SCENES["cancel"], long)

        assert violations(SCENES["cancel"], shortest)
        assert len(shortest) < len(long)
        assert "act:cancel" in shortest
    assert not violations(SCENES["cancel"], shortest)


def test_a_live_lease_that_is_taken_over_is_found_at_once() -> None:
    with broken("live_lease_taken"):
        found = run_path(SCENES["step"], b"", _SMALL, OwnVisited())

    assert found.violations


def test_at_least_thirty_breakages_concern_the_order_of_things() -> None:
    assert len(BREAKAGES) >= 30


def test_an_enumeration_that_was_cut_off_goes_on_where_it_was_left(
    tmp_path: Path,
) -> None:
    bounds = Bounds(preemptions=0, faults=0)
    with pool() as workers:
        first = enumerate_scene(workers, "chain", bounds, seconds=0, kept_in=tmp_path)
        again = enumerate_scene(workers, "chain", bounds, seconds=120, kept_in=tmp_path)
        whole = enumerate_scene(workers, "chain", bounds, seconds=120)

    assert not first.sound
    assert again.sound
    assert again.states == whole.states
    assert list(tmp_path.iterdir()) == []
