"""Runs many cases on all processors, and adds up what they showed."""

import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from multiprocessing import get_context

from tests.simulation.explore import (
    cases_for_later_mutations,
    cases_for_metered_mutations,
    cases_for_mutations,
    cases_for_tier_mutations,
)
from tests.simulation.later_mutations import LATER_MUTATIONS
from tests.simulation.metered_mutations import METERED_MUTATIONS
from tests.simulation.mutations import MUTATIONS, mutated
from tests.simulation.simulate import Case, simulate
from tests.simulation.tier_mutations import TIER_MUTATIONS

_CHUNK = 25


@dataclass(slots=True)
class Tally:
    """What many runs showed."""

    runs: int = 0
    operations: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    model_calls: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    recovery_seconds: list[float] = field(default_factory=list)
    neglected_seconds: list[float] = field(default_factory=list)
    broken: list[Case] = field(default_factory=list)
    #: How long all of it took, in real time.
    seconds: float = 0.0

    def add(self, other: "Tally") -> None:
        """Add the figures of another tally."""
        self.runs += other.runs
        self.operations += other.operations
        self.faults += other.faults
        self.model_calls += other.model_calls
        self.ends += other.ends
        self.recovery_seconds += other.recovery_seconds
        self.neglected_seconds += other.neglected_seconds
        self.broken += other.broken

    def summary(self) -> str:
        """The figures on one line."""
        return (
            f"{self.runs} runs in {self.seconds:.0f} s"
            f", {self.operations} operations, {self.faults.total()} faults"
            f", {self.model_calls} model calls, steps {dict(sorted(self.ends.items()))}"
            f", after the last fault nobody at work for {_spread(self.neglected_seconds)}"
            f", all ended {_spread(self.recovery_seconds)} (virtual seconds)"
            f"; {len(self.broken)} runs broke a promise"
        )


def _spread(values: Sequence[float]) -> str:
    ordered = sorted(values) or [0.0]
    middle, late = ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100]
    return f"p50 {middle:.0f} p99 {late:.0f} max {ordered[-1]:.0f}"


def tallied(cases: Sequence[Case]) -> Tally:
    """Run the cases one after the other."""
    tally = Tally()
    for case in cases:
        result = simulate(case)
        tally.runs += 1
        tally.operations += len(result.operations)
        tally.faults.update(str(item.fault) for item in result.injected)
        tally.model_calls += result.model_calls
        tally.ends.update(result.ends.values())
        tally.recovery_seconds.append(result.recovery_seconds)
        tally.neglected_seconds.append(result.neglected_seconds)
        if result.violations:
            tally.broken.append(case)
    return tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Catch:
    """How a breakage was noticed."""

    name: str
    #: The number of runs that it took; None when the breakage was not noticed.
    runs: int | None
    violation: str = ""


#: All breakages, by name.
BREAKAGES = {**MUTATIONS, **LATER_MUTATIONS, **TIER_MUTATIONS, **METERED_MUTATIONS}


def _cases(name: str) -> Iterator[Case]:
    """The runs that must reveal the breakage."""
    if name in METERED_MUTATIONS:
        return cases_for_metered_mutations()
    if name in TIER_MUTATIONS:
        return cases_for_tier_mutations()
    return cases_for_later_mutations() if name in LATER_MUTATIONS else cases_for_mutations()


def caught(name: str) -> Catch:
    """Run with one thing broken until a run notices it."""
    with mutated(BREAKAGES[name]):
        for number, case in enumerate(_cases(name), start=1):
            violations = simulate(case).violations
            if violations:
                return Catch(name=name, runs=number, violation=str(violations[0]))
    return Catch(name=name, runs=None)


def catch_all() -> Iterator[Catch]:
    """Try every breakage, each in turn."""
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        yield from pool.map(caught, BREAKAGES)


def _chunks(cases: Iterable[Case]) -> Iterator[Sequence[Case]]:
    left = iter(cases)
    while chunk := list(islice(left, _CHUNK)):
        yield chunk


def run_all(cases: Iterable[Case], *, going: Callable[[], bool] = lambda: True) -> Tally:
    """Run the cases on all processors, while `going` says so and until something breaks."""
    started, total = time.monotonic(), Tally()

    def admitted() -> Iterator[Sequence[Case]]:
        for chunk in _chunks(cases):
            if not going() or total.broken:
                return
            yield chunk

    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for tally in _in_turn(pool, admitted()):
            total.add(tally)
    total.seconds = time.monotonic() - started
    return total


def _in_turn(pool: ProcessPoolExecutor, chunks: Iterator[Sequence[Case]]) -> Iterator[Tally]:
    """Works as `map`, which would take the whole endless input at once."""
    ahead = 4 * (os.cpu_count() or 1)
    waiting: deque[Future[Tally]] = deque(
        pool.submit(tallied, chunk) for chunk in islice(chunks, ahead)
    )
    while waiting:
        yield waiting.popleft().result()
        waiting.extend(pool.submit(tallied, chunk) for chunk in islice(chunks, 1))
