"""Which cases to run: every single fault, and seeds without end."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import combinations
from random import Random

from tests.simulation import stages
from tests.simulation.endings import ENDURED
from tests.simulation.metering import drawn_metering
from tests.simulation.nemesis import (
    APPLICABLE,
    CALM,
    FIRST_SERIES,
    HARMLESS,
    Fault,
    Injected,
    Odds,
)
from tests.simulation.scenarios import CROWDS, SCENARIOS
from tests.simulation.simulate import Case, simulate
from tests.simulation.surroundings import ROOMS, Surroundings, drawn_surroundings

_CRASHES = frozenset({Fault.CRASH_BEFORE, Fault.CRASH_AFTER})
#: Faults that are acts of operators.
_OPERATED = frozenset(
    {
        Fault.OPERATOR_CANCELS,
        Fault.OPERATOR_RERUNS,
        Fault.REPLAYED,
        Fault.DEAD_LETTERED,
    }
)
#: A provider, or processes, with so many faults that budgets are spent; and machines that stop
#: and come back.
_ONE_SIDED = (
    (0.8, frozenset({Fault.RATE_LIMITED, Fault.INVALID})),
    (0.6, frozenset({Fault.LOST_ANSWER})),
    (0.3, _CRASHES | {Fault.TERMINATE}),
    (0.4, _OPERATED | _CRASHES),
    (0.6, _OPERATED | {Fault.SLOW}),
    (0.15, frozenset({Fault.PAUSE, Fault.LATE, Fault.CLOCK_FORWARD, Fault.CLOCK_BACK})),
)
#: The second series: faults that are endured, beside others' documents and slow pages; then
#: refusals for good, ports at the very end of their time, and filled runs; then all faults.
_STRANGE = (
    (ENDURED, 0.1),
    (frozenset({Fault.FORBIDDEN, Fault.UNFIT}), 0.1),
    (frozenset({Fault.OVERDUE, Fault.LATE, Fault.PAUSE, Fault.TERMINATE}), 0.2),
    (frozenset({Fault.FILLED, Fault.RERUN, Fault.LOST, Fault.CRASH_AFTER, Fault.UNFIT}), 0.15),
    (frozenset({Fault.RATE_LIMITED}), 0.7),
    (frozenset(Fault), 0.05),
    (frozenset(Fault), 0.2),
)
#: Faults beside a provider with a quota: none, those that are endured, or processes that die.
_BESIDE_QUOTAS: tuple[tuple[frozenset[Fault], int], ...] = (
    (frozenset(), 0),
    (ENDURED, 5),
    (_CRASHES | {Fault.TERMINATE}, 3),
)
#: Half of the runs use the default mode.
_MODES = ("at_least_once",) * 3 + tuple(stages.CALL_MODES)[1:]
#: One run in this many has its stages log, which promise 7 needs: logging takes most of the
#: time.
_LOGGED_ONE_IN = 16


#: Seeds from this number on draw cases of the second series, which has more kinds of faults.
SECOND_SERIES = 1_000_000
#: Seeds from this number on draw cases beside a provider with a quota.
METERED_SERIES = 2_000_000


def random_case(seed: int) -> Case:
    """A case of any kind; the seed alone decides which."""
    draw = Random(seed)
    if seed >= METERED_SERIES:
        return _metered_case(seed, draw)
    if seed >= SECOND_SERIES:
        return _strange_case(seed, draw)
    scenario = draw.choice(sorted(SCENARIOS))
    if draw.random() < 0.2:
        # Only faults that do not excuse a second call and do not need the sweep.
        odds = Odds(probability=draw.choice((0.1, 0.3)), most=20, allowed=HARMLESS)
        return Case(seed=seed, scenario=scenario, odds=odds, sweeps=False)
    return Case(
        seed=seed,
        scenario=scenario,
        odds=_rough(draw),
        call_mode=draw.choice(_MODES),
        logged=seed % _LOGGED_ONE_IN == 0,
    )


def _strange_case(seed: int, draw: Random) -> Case:
    """A case of the second series: foreign documents, full runs, refusals, overdue answers."""
    scenario = draw.choice(sorted(SCENARIOS))
    kind, probability = draw.choice(_STRANGE)
    most = draw.choice((2, 5, 10, 20))
    beside = kind == ENDURED
    return Case(
        seed=seed,
        scenario=scenario,
        odds=Odds(probability=probability, most=most, allowed=kind),
        call_mode=draw.choice(_MODES),
        logged=seed % _LOGGED_ONE_IN == 0,
        surroundings=drawn_surroundings(
            draw,
            list(SCENARIOS[scenario].runs),
            foreign=beside or draw.random() < 0.3,
            heavy=beside or draw.random() < 0.3,
            full=not beside and draw.random() < 0.3,
        ),
    )


def _metered_case(seed: int, draw: Random) -> Case:
    """A case with a provider that has a quota, and in which little else goes wrong."""
    kind, most = draw.choice(_BESIDE_QUOTAS)
    return Case(
        seed=seed,
        scenario=draw.choice(sorted(CROWDS)),
        odds=Odds(probability=0.1, most=most, allowed=kind),
        call_mode=draw.choice(sorted(stages.METERED_MODES)),
        logged=seed % _LOGGED_ONE_IN == 0,
        metering=drawn_metering(draw),
    )


def _rough(draw: Random) -> Odds:
    if draw.random() < 0.2:
        probability, allowed = draw.choice(_ONE_SIDED)
        return Odds(probability=probability, most=40, allowed=allowed)
    probability = draw.choice((0.02, 0.05, 0.1, 0.3))
    return Odds(
        probability=probability, most=draw.choice((1, 2, 3, 5, 8, 13)), allowed=FIRST_SERIES
    )


def calm_case(scenario: str, call_mode: str = "at_least_once") -> Case:
    """The scenario when nothing goes wrong."""
    return Case(seed=0, scenario=scenario, odds=CALM, script=(), call_mode=call_mode)


def single_faults(case: Case, faults: Collection[Fault] = FIRST_SERIES) -> Iterator[Case]:
    """The calm case with one fault: each fault that applies, at each operation."""
    for number, kind in enumerate(simulate(case).operations):
        for fault in (each for each in APPLICABLE[kind] if each in faults):
            yield replace(case, script=(Injected(number, fault),))


def crash_pairs(case: Case) -> Iterator[Case]:
    """The calm case with two crashes: before or after each of two operations, all pairs."""
    for (first,), (second,) in combinations(_crashes(case), 2):
        if first.operation != second.operation:
            yield replace(case, script=(first, second))


def _crashes(case: Case) -> Sequence[tuple[Injected, ...]]:
    return [
        found.script
        for found in single_faults(case)
        if found.script and found.script[0].fault in _CRASHES
    ]


def shrunk(case: Case) -> Case:
    """The case with as few of its faults as possible that still breaks a promise."""
    injected = simulate(case).injected
    found = replace(case, script=tuple(injected))
    position = 0
    while found.script and position < len(found.script):
        fewer = found.script[:position] + found.script[position + 1 :]
        if simulate(replace(found, script=fewer)).violations:
            found = replace(found, script=fewer)
        else:
            position += 1
    calm = replace(found, odds=CALM)
    return calm if simulate(calm).violations else found


#: Any breakage must be caught within this many random seeds.
MUTATION_SEEDS = 8_000
#: This many are enough beside a provider with a quota: such a run lasts half an hour of virtual
#: time.
METERED_SEEDS = 100


def cases_for_mutations() -> Iterator[Case]:
    """The cases within which every breakage must be caught.

    First the calm runs, and a few that are cancelled while their steps are reopened, which the
    seeds draw too seldom; then the first random seeds.
    """
    for scenario in SCENARIOS:
        yield replace(calm_case(scenario), sweeps=False)
    reopened = frozenset({Fault.RUN_CANCELLED, Fault.RERUN})
    odds = Odds(probability=1, most=5, allowed=reopened, uneven=False)
    for seed in range(10):
        yield Case(seed=seed, scenario="single", odds=odds)
    yield from map(random_case, range(MUTATION_SEEDS))


def cases_for_metered_mutations() -> Iterator[Case]:
    """The cases for a breakage that shows only beside a provider with a quota."""
    yield from map(random_case, range(METERED_SERIES, METERED_SERIES + METERED_SEEDS))


def cases_for_later_mutations() -> Iterator[Case]:
    """The cases for a breakage that shows only in the second series.

    First full runs, events that are lost and calls that are refused beside others' documents;
    then the random seeds.
    """
    calm = calm_case("single")
    run_ids = list(SCENARIOS["single"].runs)
    for room in ROOMS:
        full = Surroundings(rooms=dict.fromkeys(run_ids, room))
        yield replace(calm, surroundings=full)
    for seed in range(5):
        beside = drawn_surroundings(Random(seed), run_ids, foreign=True, heavy=True, full=False)
        for fault in (Fault.LOST, Fault.RATE_LIMITED):
            odds = Odds(probability=1, most=5, allowed=frozenset({fault}), uneven=False)
            yield replace(calm, script=None, odds=odds, surroundings=beside)
    yield from map(random_case, range(SECOND_SERIES, SECOND_SERIES + MUTATION_SEEDS))


def tier_case(seed: int) -> Case:
    """A case of the first series with calls at several tiers; the seed alone decides it."""
    modes = sorted(stages.TIER_MODES)
    return replace(random_case(seed), call_mode=modes[seed % len(modes)], sweeps=True)


def cases_for_tier_mutations() -> Iterator[Case]:
    """The cases for a breakage that shows only with several tiers: calm runs, then seeds."""
    for scenario in SCENARIOS:
        for mode in stages.TIER_MODES:
            yield calm_case(scenario, mode)
    yield from map(tier_case, range(MUTATION_SEEDS))
