"""The counting itself: a small load on the real code, which keeps the limits."""

import json
import os
import subprocess
import sys

import pytest

from tests.scale.measures import ended_run, load, sweep_due, sweep_runs
from tests.scale.rows import load_rows
from tests.scale.site import STEPS_OF_A_RUN
from tests.simulation.nemesis import Kind

#: A process learns from its first steps which of them end early: so few steps teach it nothing.
_LEARNT = "Firestore calls a step"


def test_a_small_load_ends_and_keeps_every_limit_of_the_services() -> None:
    found = load(4, 10)

    assert found.counts.ended == 40
    assert {row.what for row in load_rows(found) if not row.reached} <= {_LEARNT}


def test_a_step_costs_the_calls_that_the_architecture_says() -> None:
    """One claim serves all steps of a run; each step takes two reads, a lease and an end."""
    found = load(4, 4)

    steps, calls = found.counts.ended, found.counts.calls
    assert calls[Kind.COMMIT] == steps // STEPS_OF_A_RUN + 2 * steps
    assert calls[Kind.READ] == 2 * steps
    assert found.counts.ending_commits == steps
    assert found.counts.messages == steps


def test_a_process_that_knows_its_steps_spares_reads() -> None:
    found = load(20, 40)

    assert found.counts.calls_of_a_step() <= 4.2


def test_a_step_that_is_alone_in_its_run_costs_four_calls() -> None:
    site = ended_run(1)

    assert site.counts.calls_of_a_step() == 4
    assert site.counts.calls[Kind.READ] == 1


@pytest.mark.parametrize("steps", [2, 8, 20, 50])
def test_many_ends_of_one_run_at_once_take_two_commits_each_at_most(steps: int) -> None:
    counts = ended_run(steps).counts

    assert counts.ended == steps
    assert counts.ending_commits <= 2 * steps


def test_one_sweep_looks_at_every_run_and_writes_down_seldom_how_far_it_is() -> None:
    swept = sweep_runs(1_500)

    assert swept.all_reached
    assert swept.most_messages == 0
    assert swept.busiest_cursor <= 1.0


def test_every_due_job_is_published_by_the_first_sweep_that_has_room() -> None:
    swept = sweep_due(120, most=3)

    assert swept.all_reached
    assert swept.sweeps == 1
    assert swept.most_messages == 120


def test_the_command_counts_all_of_it_and_says_what_is_not_reached() -> None:
    command = [sys.executable, "-m", "tests.scale", "--small", "--seconds", "2"]
    done = subprocess.run(
        command, env={**os.environ, "JSON": "1"}, capture_output=True, text=True, check=False
    )

    found = json.loads(done.stdout)
    missed = [
        row["what"] for each in found.values() for row in each["rows"] if not row["reached"]
    ]
    assert [*found] == [
        "10 steps a second",
        "100 steps a second",
        "1000 running runs",
        "5000 due jobs",
        "50 ends of one run",
    ]
    assert done.returncode == (1 if missed else 0)
    assert {*missed} <= {_LEARNT}
