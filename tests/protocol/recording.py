"""Traces of simulated runs, which the model must be able to follow."""

from collections.abc import Sequence
from dataclasses import replace

from tests.protocol.events import StepEvents, Trace
from tests.simulation.explore import random_case
from tests.simulation.nemesis import Fault
from tests.simulation.simulate import simulate

#: This many seeds are run at once.
CHUNK = 50
#: What the model leaves out: effects that come after their caller gave up, machines whose
#: clocks are wrong, and inputs that change under a report that is stored.
_NOT_IN_THE_MODEL = frozenset(
    {Fault.LATE, Fault.CLOCK_FORWARD, Fault.CLOCK_BACK, Fault.CHANGED}
)


def recorded(first: int, seeds: int = CHUNK) -> Sequence[Trace]:
    """The traces of the steps in the runs of these seeds, whose calls are awaited."""
    found: list[Trace] = []
    for seed in range(first, first + seeds):
        case = random_case(seed)
        if case.call_mode.startswith("background"):
            continue
        odds = replace(case.odds, allowed=case.odds.allowed - _NOT_IN_THE_MODEL)
        events = StepEvents()
        simulate(replace(case, odds=odds, logged=False), watcher=events)
        found += events.traces()
    return found
