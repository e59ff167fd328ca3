"""Nobody waits for a call in the background: how often a process is woken for a step."""

from datetime import timedelta

import pytest

from executor.model_calls.looks import LookTimes
from tests.simulation import provider
from tests.simulation.explore import calm_case
from tests.simulation.nemesis import Kind
from tests.simulation.simulate import Result, simulate

#: How often a process is woken for a call of an hour when it has seen no call before: to begin
#: the call, and to look for its answer.
MOST_UNEXPECTED = 13


def with_model_time(seconds: float, monkeypatch: pytest.MonkeyPatch) -> Result:
    """Run a step whose model works this long, with both stages, the sweep and their clocks."""
    monkeypatch.setattr(provider, "thinking_seconds", lambda _draw: seconds)
    result = simulate(calm_case("single", "background"))
    assert not result.violations
    assert set(result.ends.values()) == {"SUCCEEDED"}
    assert result.model_calls == 1
    return result


@pytest.mark.parametrize("seconds", [10, 60, 600, 3_600])
def test_a_step_takes_two_invocations_however_long_its_model_thinks(
    seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LookTimes, "likely", lambda *_: timedelta(seconds=seconds))

    result = with_model_time(seconds, monkeypatch)

    assert result.operations.count(Kind.MESSAGE) == 2
    assert result.operations.count(Kind.ASK) == 1
    # The job becomes due at the end of the call, and the next sweep finds and wakes it.
    assert result.recovery_seconds <= seconds + 60 + 10


@pytest.mark.parametrize("seconds", [10, 60, 600, 3_600])
def test_a_model_whose_time_nobody_knows_is_looked_for_a_few_times(
    seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = with_model_time(seconds, monkeypatch)

    messages = result.operations.count(Kind.MESSAGE)
    assert 2 <= messages <= MOST_UNEXPECTED
    assert result.operations.count(Kind.ASK) == messages - 1
    # A look that finds no answer reads nothing of the step's inputs.
    fetched = with_model_time(1, monkeypatch).operations.count(Kind.FETCH)
    assert result.operations.count(Kind.FETCH) == fetched
