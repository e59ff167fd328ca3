"""`make simulate`: every single fault, seeds without end, and the mutation check."""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import count

from tests.simulation.campaign import BREAKAGES, Catch, Tally, catch_all, run_all
from tests.simulation.explore import (
    METERED_SERIES,
    SECOND_SERIES,
    calm_case,
    crash_pairs,
    random_case,
    shrunk,
    single_faults,
    tier_case,
)
from tests.simulation.ledger_campaign import (
    LEDGER_MUTATIONS,
    catch_all_in_ledger,
    run_histories,
)
from tests.simulation.nemesis import CALM, LATER, parse_script
from tests.simulation.scenarios import CROWDS, SCENARIOS
from tests.simulation.simulate import Case, simulate
from tests.simulation.stages import ALL_MODES, CALL_MODES

#: A run beside a quota takes as long as so many others.
_METERED_ONE_IN = 20


def say(line: object) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def show(case: Case) -> None:
    """Print the run of the case with as few faults as still break something."""
    smallest = shrunk(case)
    result = simulate(smallest, traced=True)
    script = ",".join(map(str, smallest.script or ()))
    calm = "" if smallest.odds.uneven else " --calm"
    for line in result.trace:
        say(line)
    for violation in result.violations:
        say(violation)
    if not result.violations:
        say("no promise is broken")
    say(
        f"again: python -m tests.simulation --seed {case.seed} --scenario {case.scenario}"
        f" --mode {case.call_mode}{calm} --script '{script}'"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=60, help="of random seeds, each series"
    )
    parser.add_argument("--first", type=int, default=0, help="the first random seed")
    parser.add_argument("--seeds", type=int, help="run so many seeds of each series")
    parser.add_argument(
        "--ledger", type=int, default=100_000, help="so many histories of the ledger"
    )
    parser.add_argument("--pairs", action="store_true", help="also every pair of crashes")
    parser.add_argument("--no-mutations", action="store_true", help="skip that check")
    parser.add_argument("--seed", type=int, help="replay one seed and print its trace")
    parser.add_argument("--scenario", choices=[*SCENARIOS, *CROWDS], help="for a replay")
    parser.add_argument("--mode", choices=ALL_MODES, help="for a replay")
    parser.add_argument("--script", help="for a replay: exactly these faults")
    parser.add_argument("--calm", action="store_true", help="for a replay: even latencies")
    return parser.parse_args()


def _replayed(arguments: argparse.Namespace) -> Case:
    case = random_case(arguments.seed)
    if arguments.calm:
        strange = arguments.seed >= SECOND_SERIES
        case = replace(case if strange else calm_case("single"), seed=arguments.seed, odds=CALM)
    if arguments.scenario is not None:
        case = replace(case, scenario=arguments.scenario)
    if arguments.mode is not None:
        case = replace(case, call_mode=arguments.mode)
    if arguments.script is not None:
        case = replace(case, script=parse_script(arguments.script))
    return case


def main() -> int:
    """Run what was asked for; 1 when a promise is broken."""
    arguments = _arguments()
    if arguments.seed is not None:
        show(_replayed(arguments))
        return 0
    tallies = list(_explored(arguments))
    broken = [case for tally in tallies for case in tally.broken]
    for case in broken[:1]:
        show(case)
    ledger = run_histories(arguments.ledger)
    say(f"histories of the ledger: {ledger.summary()}")
    for seed, violation in ledger.broken[:3]:
        say(f"ledger_history({seed}): {violation}")
    missed = [] if arguments.no_mutations else [*_missed(), *_missed_in_ledger()]
    return 1 if broken or ledger.broken or missed else 0


def _missed() -> list[str]:
    """The breakages that nothing noticed."""
    return _unnoticed(catch_all(), of=len(BREAKAGES))


def _missed_in_ledger() -> list[str]:
    """The breakages of the ledger that no history noticed."""
    return _unnoticed(catch_all_in_ledger(), of=len(LEDGER_MUTATIONS))


def _unnoticed(catches: Iterable[Catch], *, of: int) -> list[str]:
    missed: list[str] = []
    for catch in catches:
        how = f"after {catch.runs} runs: {catch.violation}" if catch.runs else "NOT CAUGHT"
        say(f"broken on purpose: {catch.name}: {how}")
        missed += [] if catch.runs else [catch.name]
    say(f"broken on purpose: {of - len(missed)} of {of} caught")
    return missed


def _explored(arguments: argparse.Namespace) -> Iterator[Tally]:
    calm = [calm_case(scenario, policy) for scenario in SCENARIOS for policy in CALL_MODES]
    yield _told("every single fault", run_all(c for base in calm for c in single_faults(base)))
    if arguments.pairs:
        pairs = run_all(crash_pairs(calm_case("single")))
        yield _told("every pair of crashes", pairs)
    later = (c for base in calm for c in single_faults(base, LATER))
    yield _told("every single fault of the second series", run_all(later))
    series = (
        ("random seeds", 0, 1),
        ("seeds of the second series", SECOND_SERIES, 1),
        ("seeds beside a provider with a quota", METERED_SERIES, _METERED_ONE_IN),
    )
    for name, begin, one_in in series:
        first, seeds = begin + arguments.first, arguments.seeds and arguments.seeds // one_in
        numbers = count(first) if seeds is None else range(first, first + seeds)
        yield _told(name, run_all(map(random_case, numbers), going=_for(arguments)))
    first, seeds = arguments.first, arguments.seeds
    numbers = count(first) if seeds is None else range(first, first + seeds)
    tiers = run_all(map(tier_case, numbers), going=_for(arguments))
    yield _told("seeds with several tiers", tiers)


def _for(arguments: argparse.Namespace) -> Callable[[], bool]:
    """Whether there is time for more: always, where their number is given."""
    if arguments.seeds is not None:
        return lambda: True
    ends_at = time.monotonic() + arguments.seconds
    return lambda: time.monotonic() < ends_at


def _told(name: str, tally: Tally) -> Tally:
    say(f"{name}: {tally.summary()}")
    return tally


if __name__ == "__main__":
    sys.exit(main())
