"""What is to be reached, and whether it was."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.benchmarks.calls import firestore_calls
from tests.benchmarks.cold_start import LIBRARIES
from tests.benchmarks.first_request import rounds_of
from tests.benchmarks.load import Growth
from tests.benchmarks.measure import Figure, figure, ratio
from tests.benchmarks.parts import Measured
from tests.benchmarks.waiting import WaitCost

_SINGLE = "single function"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One row of the table."""

    what: str
    to_reach: str
    value: str
    reached: bool
    #: What stands in the way; shown where it was not reached.
    because: str = ""


def targets(measured: Measured) -> Iterator[Target]:
    """The rows of what was measured."""
    yield from _start(measured)
    yield from _first_answer(measured)
    yield from _calls(measured)
    yield from _paths(measured)
    yield from _executor(measured)
    yield from _filter(measured)
    yield from _growth(measured.growth)
    yield from _waiting(measured.waiting)


def _at_most(
    what: str, value: Figure, limit: float, unit: str = "", because: str = ""
) -> Target:
    return Target(
        what=what,
        to_reach=f"≤ {limit:g}{unit}",
        value=f"{value}{unit}",
        reached=value.median <= limit,
        because=because,
    )


def _start(measured: Measured) -> Iterator[Target]:
    cold = measured.cold_start
    if not cold:
        return
    ours, theirs = cold["dispatcher"], cold[_SINGLE]
    time, memory = (
        ratio(ours.seconds, theirs.seconds),
        ratio(ours.mebibytes, theirs.mebibytes),
    )
    yield _at_most(
        "dispatcher's cold start, of the single function's time", time, 0.4, " times"
    )
    yield _at_most("the same, of its memory", memory, 0.65, " times")


def _first_answer(measured: Measured) -> Iterator[Target]:
    first, cold = measured.first_request, measured.cold_start
    if not first or not cold or LIBRARIES not in cold:
        return
    ours, theirs = first["executor"], first[_SINGLE]
    libraries = cold[LIBRARIES]
    yield _at_most(
        "executor from a new instance to its first answer, of the single function's time",
        ratio(rounds_of(first, "executor"), rounds_of(first, _SINGLE)),
        0.85,
        " times",
        because="The libraries that both load (the framework, Firestore, Cloud Storage,"
        " google-genai, jsonschema) take"
        f" {ratio(libraries.seconds, cold[_SINGLE].seconds)} times the single function's start"
        " by themselves. Below that there are only other libraries.",
    )
    yield _at_most(
        "the same, of its memory",
        ratio(ours.mebibytes, theirs.mebibytes),
        1.1,
        " times",
        because=f"The same libraries take {figure(libraries.mebibytes)} of the"
        f" {figure(cold['executor'].mebibytes)} MiB that the executor has when it is loaded;"
        " the framework keeps a second process with all of them.",
    )


def _calls(measured: Measured) -> Iterator[Target]:
    calls = measured.calls
    if not calls:
        return
    one, several = firestore_calls(calls.alone), calls.firestore_of_several
    for what, value, limit in (
        (
            "Firestore calls for the two events of our own writes",
            one.get("dispatcher", 0) - 1,
            0,
        ),
        ("Firestore calls a step, first attempt", sum(one.values()), 4),
        ("claim commits a step, of five at once", several.get("dispatcher", 0), 0.2),
    ):
        yield Target(
            what=what,
            to_reach=f"≤ {limit:g}" if limit else "0",
            value=f"{value:.2f}",
            reached=value <= limit,
        )


def _paths(measured: Measured) -> Iterator[Target]:
    for network, pair in (measured.paths or {}).items():
        bare = ratio(pair.bare.working, pair.theirs.working)
        yield _at_most(
            f"executor's part, of the single function's, {1000 * network:.0f} ms network",
            ratio(pair.ours.working, pair.theirs.working),
            0.5,
            " times",
            because=f"The same calls with no logic at all, in the same place and the same run,"
            f" take {bare} times the single function's part. {_PATH}",
        )


#: Counted in executor/ and in tests/benchmarks/single_function.py.
_PATH = (
    "Five of its calls must follow one another (batch read, manifest, image, upload, finalize)"
    " where the single function makes twelve: so much less waits for the network. What is left"
    " is processor time, of the client libraries above all: the profile below shows the parts,"
    " [the history](benchmarks-history.md) what was tried."
)


def _executor(measured: Measured) -> Iterator[Target]:
    cost = measured.executor
    if not cost:
        return
    spent = ", ".join(f"{name} {ms:.1f} ms" for name, ms in list(cost.profile.items())[:5])
    yield _at_most(
        "executor over the bare calls",
        ratio(cost.ours, cost.floor),
        1.25,
        " times",
        because=f"By the profile a step's CPU goes first to {spent}.",
    )
    yield _at_most(
        "the same, of its processor time",
        ratio(cost.ours_cpu, cost.floor_cpu),
        1.1,
        " times",
        because="What a job takes beyond the bare calls is spread thin:"
        " [the history](benchmarks-history.md#where-a-jobs-processor-time-goes) says where.",
    )
    copies = cost.calls_by_duplicates[0.9]
    yield Target(
        what="model calls a step at 90 % duplicates",
        to_reach="1.00",
        value=f"{copies:.2f}",
        reached=copies == 1,
    )


def _filter(measured: Measured) -> Iterator[Target]:
    costs = [
        cost
        for cost in measured.filter or ()
        if "MiB" not in cost.kind and "READY" not in cost.kind
    ]
    if not costs:
        return
    largest = max(costs, key=lambda cost: cost.steps)
    yield _at_most(
        "filter of 500 steps that asks for nothing", figure(largest.milliseconds), 3, " ms CPU"
    )
    middle = next(c for c in costs if (c.kind, c.steps) == (largest.kind, 100))
    times = figure(largest.milliseconds).median / figure(middle.milliseconds).median
    yield Target(
        what="the same of 500 steps over that of 100: linear",
        to_reach="≤ 5.5 times",
        value=f"{times:.2f} times",
        reached=times <= 5.5,
    )


def _growth(growth: Growth | None) -> Iterator[Target]:
    if not growth:
        return
    flat, bare, memory = (
        _late_over_early(samples)
        for samples in (growth.steps_per_second, growth.bare_milliseconds, growth.mebibytes)
    )
    yield Target(
        what=f"throughput to {growth.steps[-1]:,} steps, last quarter over first",
        to_reach="0.9 to 1.1 times",
        value=f"{flat:.3f} times",
        reached=0.9 <= flat <= 1.1,
        because=f"Meanwhile the time of the bare calls changed by {bare:.2f} times:"
        " so much is the emulators'.",
    )
    yield Target(
        what="the executor's memory, last quarter over first",
        to_reach="≤ 1.02 times",
        value=f"{memory:.3f} times",
        reached=memory <= 1.02,
    )


_BUSY = (
    "The time is by the wall, and the machine did other work meanwhile: see its load in the"
    " last table. [The history](benchmarks-history.md) has what it took with less beside it."
)


def _waiting(costs: Mapping[float, WaitCost] | None) -> Iterator[Target]:
    if not costs:
        return
    times = f"model's time {min(costs):,g} to {max(costs):,g} s"
    most = max(count for cost in costs.values() for count in cost.invocations)
    yield Target(
        what=f"executor's invocations of any step, {times}",
        to_reach="≤ 2",
        value=f"{most}",
        reached=most <= 2,
    )
    seconds = {each: statistics.median(cost.in_all) for each, cost in costs.items()}
    dearest = max(seconds, key=lambda each: seconds[each])
    yield _at_most(
        f"instances' time a step, the most of these ({dearest:,g} s)",
        figure(costs[dearest].in_all),
        0.4,
        " s",
        because=_BUSY,
    )
    spread = max(seconds.values()) / min(seconds.values())
    yield Target(
        what="the same for each: the most over the least",
        to_reach="≤ 1.25 times",
        value=f"{spread:.2f} times",
        reached=spread <= 1.25,
        because=_BUSY,
    )


def _late_over_early(samples: Sequence[float]) -> float:
    quarter = max(1, len(samples) // 4)
    return statistics.median(samples[-quarter:]) / statistics.median(samples[:quarter])
