"""Hooks that are lost, doubled, late, forged or earlier than the id, with every crash."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from executor.jobs import intake
from executor.model_calls import background
from executor.model_calls.background import BackgroundCalls
from shared.domain.jobs import BackgroundCall, JobRecord
from tests.simulation.explore import calm_case, random_case, single_faults
from tests.simulation.nemesis import APPLICABLE, Fault, Injected, Kind
from tests.simulation.simulate import Case, simulate
from tests.simulation.stages import HOOK_MODES

CRASHES = {Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.TERMINATE}
SEEDS = 120
_EVERY_MODE = pytest.mark.parametrize("mode", HOOK_MODES)


def crashes(mode: str) -> Iterator[Case]:
    for case in single_faults(calm_case("single", mode)):
        if case.script and case.script[0].fault in CRASHES:
            yield case


def with_hook_fault(case: Case, fault: Fault) -> Case:
    """The case, in which the hook of the call whose beginner dies has this fault."""
    script = case.script or ()
    number = next(
        number
        for number, kind in enumerate(simulate(case).operations)
        if kind is Kind.HOOK and number > script[0].operation
    )
    return replace(case, script=(*script, Injected(number, fault)))


def dies_beginning(scenario: str, mode: str) -> Iterator[Case]:
    """An executor dies after the provider has taken a call, before it hears of it."""
    case = calm_case(scenario, mode)
    for number, kind in enumerate(simulate(case).operations):
        if kind is Kind.BEGIN:
            yield replace(case, script=(Injected(number, Fault.CRASH_AFTER),))


def test_a_crash_anywhere_costs_one_call_where_the_hook_comes() -> None:
    for case in crashes("background_hooks"):
        result = simulate(case)

        assert not result.violations, case
        assert result.model_calls == 1, case
        assert set(result.ends.values()) == {"SUCCEEDED"}, case


def test_a_crash_anywhere_costs_at_most_one_call_and_loses_none_that_was_begun() -> None:
    for case in crashes("background_hooks_at_most_once"):
        result = simulate(case)

        assert not result.violations, case
        ended = {"SUCCEEDED"} if result.model_calls == 1 else {"FAILED"}
        assert result.model_calls <= 1, case
        assert set(result.ends.values()) == ended, case


@_EVERY_MODE
@pytest.mark.parametrize("fault", APPLICABLE[Kind.HOOK])
def test_whatever_becomes_of_the_hook_no_crash_breaks_a_promise(
    fault: Fault, mode: str
) -> None:
    for case in dies_beginning("single", mode):
        result = simulate(with_hook_fault(case, fault))

        assert not result.violations, case
        # Lost, delayed and forged hooks leave the one window in which a call is paid twice, as
        # without hooks.
        most = 2 if fault in {Fault.LOST, Fault.FORGED, Fault.DELAYED} else 1
        assert result.model_calls <= most, case


@_EVERY_MODE
def test_no_promise_is_broken_in_any_of_some_random_runs(mode: str) -> None:
    for seed in range(SEEDS):
        case = replace(random_case(seed), call_mode=mode, sweeps=True)

        assert not simulate(case).violations, case


def test_a_wait_without_an_end_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = intake._hook_awaited_until

    def never_ends(job: JobRecord, wait: timedelta | None) -> Any:
        until = original(job, wait)
        return until and until + timedelta(days=365)

    monkeypatch.setattr(intake, "_hook_awaited_until", never_ends)
    [case] = dies_beginning("single", "background_hooks")

    assert simulate(with_hook_fault(case, Fault.LOST)).violations


def test_a_hint_that_is_believed_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def believed(call_id: str, _kept: Any, _job: Any, now: Any) -> BackgroundCall:
        return BackgroundCall(id=call_id, begun_at=now, input_digest="")

    monkeypatch.setattr(background, "own_call", believed)
    monkeypatch.setattr(BackgroundCalls, "resumable", lambda _self, job: job.interaction)

    noticed = [
        bool(simulate(with_hook_fault(case, Fault.FORGED)).violations)
        for case in dies_beginning("two_runs", "background_hooks")
    ]

    assert any(noticed)
