"""The promises hold under every single fault, and under many at once."""

import os
import subprocess
import sys
from dataclasses import replace
from random import Random

import pytest

from tests.simulation.explore import (
    METERED_SERIES,
    SECOND_SERIES,
    calm_case,
    random_case,
    shrunk,
    single_faults,
)
from tests.simulation.fullness import ENDING_BYTES
from tests.simulation.nemesis import (
    APPLICABLE,
    LATER,
    Fault,
    Injected,
    Kind,
    Odds,
    parse_script,
)
from tests.simulation.scenarios import RUN_IDS, SCENARIOS
from tests.simulation.simulate import Case, simulate
from tests.simulation.surroundings import ROOMS, Surroundings, drawn_surroundings

#: Faults that may end a step otherwise than it would have ended.
_DECISIVE = frozenset(
    {
        Fault.BLOCKED,
        Fault.CANCELLED,
        Fault.RUN_CANCELLED,
        Fault.RERUN,
        Fault.CHANGED,
        Fault.OPERATOR_CANCELS,
    }
)
_CHUNK = 60
#: The longest time in which nobody may be at work on a step. It is one lease or, for a job that
#: nobody leased, the two minutes after which the sweep looks at it; plus one sweep, and the
#: sweep's own jitter.
MOST_NEGLECTED_SECONDS = 120 + 60 + 10


def told(case: Case) -> str:
    """Tell how to see the run of a failing case again."""
    smallest = shrunk(case)
    script = ",".join(map(str, smallest.script or ()))
    trace = "\n".join(map(str, simulate(smallest, traced=True).trace))
    return f"seed {case.seed}, scenario {case.scenario}, script {script}\n{trace}"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_without_faults_every_step_ends_by_its_event_and_message_alone(scenario: str) -> None:
    result = simulate(replace(calm_case(scenario), sweeps=False))

    expected = SCENARIOS[scenario].ends
    ends = {step: status for (_, step), status in result.ends.items()}
    assert not result.violations
    assert ends == {step: expected.get(step, "SUCCEEDED") for step in ends}
    assert result.model_calls == sum(end == "SUCCEEDED" for end in result.ends.values())


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_single_fault_breaks_a_promise_where_no_call_is_made_twice(scenario: str) -> None:
    for case in single_faults(calm_case(scenario, "at_most_once")):
        assert not simulate(case).violations, told(case)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_single_fault_at_any_operation_breaks_a_promise_or_costs_a_report(
    scenario: str,
) -> None:
    """Recovery means that the report is made, not only that the step ends."""
    calm = simulate(calm_case(scenario)).ends

    for case in single_faults(calm_case(scenario)):
        result = simulate(case)
        [injected] = case.script or ()
        assert not result.violations, told(case)
        assert injected.fault in _DECISIVE or result.ends == calm, told(case)
        assert result.neglected_seconds <= MOST_NEGLECTED_SECONDS, told(case)


@pytest.mark.parametrize("mode", ["background", "background_at_most_once"])
def test_no_death_after_the_id_of_a_background_call_is_recorded_costs_a_second_one(
    mode: str,
) -> None:
    case = calm_case("single", mode)
    operations = simulate(case).operations
    recorded = operations.index(Kind.COMMIT, operations.index(Kind.BEGIN))
    deaths = [
        Injected(number, fault)
        for number in range(recorded, len(operations))
        for fault in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.TERMINATE)
        if (number, fault) != (recorded, Fault.CRASH_BEFORE)
        and fault in APPLICABLE[operations[number]]
    ]

    results = [simulate(replace(case, script=(death,))) for death in deaths]

    assert [result.model_calls for result in results] == [1] * len(deaths)
    assert not any(result.violations for result in results)


@pytest.mark.parametrize("mode", ["background", "background_at_most_once"])
def test_of_two_holders_in_the_background_none_pays_for_an_answer_that_was_recorded(
    mode: str,
) -> None:
    """Processes stop, commits are late, clocks are set back: several believe in their lease."""
    doubtful = frozenset({Fault.PAUSE, Fault.LATE, Fault.CLOCK_BACK, Fault.CLOCK_FORWARD})
    odds = Odds(probability=0.2, most=40, allowed=doubtful)

    for seed in range(120):
        case = Case(seed=seed, scenario="single", odds=odds, call_mode=mode)
        assert not simulate(case).violations, told(case)


@pytest.mark.parametrize("first_seed", range(0, 360, _CHUNK))
def test_random_faults_break_no_promise(first_seed: int) -> None:
    for seed in range(first_seed, first_seed + _CHUNK):
        case = random_case(seed)
        assert not simulate(case).violations, told(case)


def test_no_single_fault_of_the_second_series_breaks_a_promise() -> None:
    for case in single_faults(calm_case("single"), LATER):
        assert not simulate(case).violations, told(case)


@pytest.mark.parametrize("first_seed", range(SECOND_SERIES, SECOND_SERIES + 80, 40))
def test_documents_of_others_full_runs_and_refusals_for_good_break_no_promise(
    first_seed: int,
) -> None:
    for seed in range(first_seed, first_seed + 40):
        case = random_case(seed)
        assert not simulate(case).violations, told(case)


@pytest.mark.parametrize("first_seed", range(METERED_SERIES, METERED_SERIES + 40, 20))
def test_a_provider_s_quota_fails_no_step_that_it_has_room_for(first_seed: int) -> None:
    """The quota is per minute or day, with or without delays, in outages and with deaths."""
    for seed in range(first_seed, first_seed + 20):
        case = random_case(seed)
        assert not simulate(case).violations, told(case)


def test_what_stands_beside_the_runs_costs_no_step_and_stays_as_it_is() -> None:
    """All foreign documents are there at once, some too heavy for any page to bring in time."""
    for seed in range(10):
        beside = drawn_surroundings(Random(seed), RUN_IDS, foreign=True, heavy=True, full=False)
        case = replace(calm_case("two_runs"), surroundings=beside)
        result = simulate(replace(case, script=parse_script("0:lost")))
        assert not result.violations
        assert set(result.ends.values()) == {"SUCCEEDED"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_run_without_room_ends_with_its_code_and_no_call(room: int) -> None:
    [run_id] = SCENARIOS["single"].runs
    full = Surroundings(rooms={run_id: room})

    result = simulate(replace(calm_case("single"), surroundings=full))

    fits = room > ENDING_BYTES
    assert not result.violations
    assert result.model_calls == fits
    [end] = result.ends.values()
    assert end == ("SUCCEEDED" if fits else "READY" if room == 0 else "FAILED")


def test_a_stopped_holder_whose_clock_is_set_back_and_forth_makes_no_call() -> None:
    assert not simulate(random_case(12_151)).violations


def test_a_crash_between_claim_and_publish_is_overcome_without_the_sweep() -> None:
    """A redelivery too early to publish in place of the dead dispatcher asks to come again."""
    case = replace(calm_case("pair"), sweeps=False, script=parse_script("1:crash_after"))

    result = simulate(case)

    assert not result.violations
    assert set(result.ends.values()) == {"SUCCEEDED"}


@pytest.mark.parametrize("seed", [4, 17, 28])
def test_a_seed_runs_the_same_way_again_in_any_process(seed: int) -> None:
    program = (
        "from tests.simulation.explore import random_case;"
        "from tests.simulation.simulate import simulate;"
        f"print(*simulate(random_case({seed}), traced=True).trace, sep='\\n')"
    )
    here = "\n".join(map(str, simulate(random_case(seed), traced=True).trace))

    elsewhere = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": str(seed)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )

    assert elsewhere.stdout.rstrip() == here


@pytest.mark.parametrize("seed", [1, 4, 28])
def test_the_faults_of_a_seed_as_a_script_make_the_same_run(seed: int) -> None:
    case = random_case(seed)
    drawn = simulate(case, traced=True)

    scripted = simulate(replace(case, script=tuple(drawn.injected)), traced=True)

    assert [str(entry) for entry in scripted.trace] == [str(entry) for entry in drawn.trace]


def test_a_script_is_read_as_it_is_printed() -> None:
    script = (Injected(3, Fault.CRASH_AFTER), Injected(12, Fault.LOST_ANSWER))

    assert parse_script(",".join(map(str, script))) == script
