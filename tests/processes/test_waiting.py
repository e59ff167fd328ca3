"""Measuring steps that nobody waits for, with two short waits."""

import pytest

from tests.benchmarks.waiting import measure_waiting

pytestmark = pytest.mark.emulators


def test_the_request_logs_of_the_processes_say_what_a_wait_costs() -> None:
    costs = measure_waiting((1.0, 3.0), steps=2, apart_seconds=1.0)

    assert list(costs) == [1.0, 3.0]
    for cost in costs.values():
        assert cost.invocations == [2, 2]
        # For each step there are a hook and three events of the run.
        assert len(cost.in_all) == 2
        assert all(seconds > 0 for seconds in cost.notify_seconds + cost.dispatcher_seconds)
        # Nobody works on the step while its model does.
        assert all(late < 60 for late in cost.late_seconds)
