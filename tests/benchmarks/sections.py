"""The sections of the page, each from the figures of its part."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from tests.benchmarks import burst, load
from tests.benchmarks.calls import CallCounts
from tests.benchmarks.cold_start import ColdStart
from tests.benchmarks.executor_cost import ExecutorCost
from tests.benchmarks.filter_cost import FilterCost
from tests.benchmarks.first_request import FirstRequest
from tests.benchmarks.measure import figure, percentile, ratio
from tests.benchmarks.parts import Measured
from tests.benchmarks.recovery import LEASE_SECONDS, MODEL_SECONDS, SWEEP_SECONDS, Recovery
from tests.benchmarks.targets import Target, targets
from tests.benchmarks.waiting import WaitCost
from tests.benchmarks.whole_path import PathPair
from tests.storm.rows import ROWS, Row

_T = TypeVar("_T")
_SINGLE = "single function"


def sections(measured: Measured) -> Iterator[str]:
    """All that there are figures for."""
    yield _targets(list(targets(measured)))
    yield from _shown(_cold_start, measured.cold_start)
    yield from _shown(_first_request, measured.first_request)
    yield from _shown(_filter, measured.filter)
    yield from _shown(_instructions, measured.instructions)
    yield from _shown(_calls, measured.calls)
    yield from _shown(_paths, measured.paths)
    yield from _shown(_bursts, measured.bursts)
    yield from _shown(_executor, measured.executor)
    yield from _shown(_load, measured.load)
    yield from _shown(_growth, measured.growth)
    yield from _shown(_recovery, measured.recovery)
    yield from _shown(_waiting, measured.waiting)
    yield from _shown(_storm, measured.storm)


def _storm(rows: Mapping[str, Row]) -> str:
    cells = [
        (row.scenario, row.to_reach, row.measured, "yes" if row.reached else "**no**")
        for row in rows.values()
    ]
    missing = [row.__name__ for row in ROWS if row.__name__ not in rows]
    left_out = f"\n\nNot measured: {', '.join(missing)}." if missing else ""
    return (
        "## A provider that refuses\n\n"
        "`make storm`, in virtual time: the deployed code of all functions at the settings of"
        " production, with 10 executors of 4 requests, a sweep every minute, calls of 8 to 22"
        " seconds, and Eventarc and Pub/Sub as in the simulation. Where a minute's quota is"
        " spoken of, the figure is the worst of three ways to count it: by the clock's minute,"
        " by any sixty seconds, and by a bucket that holds ten seconds' worth. Ideal is the"
        " number of steps over the quota.\n\n"
        + table(("scenario", "to reach", "measured", "reached"), cells)
        + left_out
    )


def _shown(section: Callable[[_T], str], figures: _T | None) -> Iterator[str]:
    if figures is not None:
        yield section(figures)


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Rows as Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _targets(found: Sequence[Target]) -> str:
    rows = [
        (each.what, each.to_reach, each.value, "yes" if each.reached else "**no**")
        for each in found
    ]
    missed = [f"- *{each.what}*: {each.because}" for each in found if not each.reached]
    way = "\n\nWhat stands in the way of the rest:\n\n" + "\n".join(missed) if missed else ""
    return (
        "## To reach, and reached\n\n"
        + table(("what", "to reach", "measured", "reached"), rows)
        + way
    )


def _cold_start(cold: Mapping[str, ColdStart]) -> str:
    rows = [
        (
            name,
            figure(start.seconds),
            figure(start.mebibytes),
            ratio(start.seconds, cold[_SINGLE].seconds),
        )
        for name, start in cold.items()
    ]
    return (
        "## Cold start\n\nFrom a new interpreter to the entry point imported;"
        " memory is the largest resident size.\n\n"
        + table(("entry point", "seconds", "MiB", "of the single function"), rows)
    )


def _first_request(costs: Mapping[str, FirstRequest]) -> str:
    rows = [
        (
            name,
            figure(cost.ready_seconds),
            figure(cost.first_seconds).times(1000),
            figure(cost.second_seconds).times(1000),
            figure(cost.mebibytes),
        )
        for name, cost in costs.items()
    ]
    return (
        "### A new instance and its first request\n\n"
        "As functions-framework serves it, from the start of its process until it answers;"
        " then a request that has work to do, and another."
        " The dispatcher's claims a step, the executor's does a whole job,"
        " the single function's does both; the model answers at once.\n\n"
        + table(("function", "ready, s", "first, ms", "second, ms", "MiB after both"), rows)
    )


def _filter(costs: Sequence[FilterCost]) -> str:
    rows = [
        (cost.kind, cost.steps, f"{cost.event_bytes:,}", figure(cost.milliseconds))
        for cost in costs
    ]
    return (
        "## What an event costs the dispatcher\n\nCPU time of its whole handling."
        " An event that asks for nothing calls no service;"
        " for a READY step the services are left out.\n\n"
        + table(("change", "steps", "event's bytes", "ms"), rows)
        + "\n\n![cost of an event by its size](images/bench-filter.svg)"
    )


def _instructions(counts: Mapping[str, Mapping[str, float]]) -> str:
    whats = dict.fromkeys(what for found in counts.values() for what in found)
    rows = [
        (
            what,
            *(
                f"{found[what]:,.0f}" if what in found else "not counted"
                for found in counts.values()
            ),
        )
        for what in whats
    ]
    return (
        "### Counted, not timed\n\n"
        "By valgrind (`callgrind`, and `memcheck` with Python's own allocator off);"
        " `perf stat` finds no hardware counters on a virtual machine like this.\n\n"
        + table(("of", *counts), rows)
    )


def _counted(count: float | None) -> str:
    return "not counted" if count is None else f"{count:,.0f}"


def _calls(calls: CallCounts) -> str:
    rows = [
        (line.service, line.function, line.call, f"{line.calls:.2f}", f"{line.bytes:,.0f}")
        for line in calls.alone
    ]
    several = ", ".join(
        f"{count:.2f} of the {function}"
        for function, count in calls.firestore_of_several.items()
    )
    return (
        "## Calls, bytes and events a step\n\nCounted on the wire, for a step alone in its run"
        " that goes well at the first attempt; bytes are those of requests and answers.\n\n"
        + table(("service", "function", "call", "calls", "bytes"), rows)
        + f"\n\nOf five steps that become READY at once, each has {several}"
        " as its Firestore calls: they share the claim, and finish in one document."
    )


_PATH_HEAD = (
    "network put in",
    "system",
    "working p50",
    "p95",
    "p99",
    "whole p50",
    "p95",
    "p99",
    "its process's CPU a step",
)


def _paths(paths: Mapping[float, PathPair]) -> str:
    rows, shares = [], []
    for network, pair in paths.items():
        for name, cost in (
            ("this worker", pair.ours),
            (_SINGLE, pair.theirs),
            ("this worker's bare calls", pair.bare),
        ):
            rows.append(
                (
                    f"{1000 * network:.0f} ms",
                    name,
                    *_percentiles(cost.working),
                    *_percentiles(cost.whole),
                    f"{cost.cpu:.1f}",
                )
            )
        shares.append(_shares(network, pair))
    return (
        "## A step's overhead beyond the model's time\n\n"
        "Through real CloudEvents and real processes, one step at a time, in milliseconds;"
        " all take turns."
        " The working part is the request that calls the model:"
        " the push for this worker, the event for the single function."
        " The whole goes from the write that makes the step READY to the write that ends it,"
        " by the database's own clock."
        " The bare calls are a third function in the executor's place, with its environment and"
        " its clients: a push makes the executor's calls, in its order, and nothing else.\n\n"
        + table(_PATH_HEAD, rows)
        + "\n\nOf this worker's whole, medians in milliseconds:\n\n"
        + table(("network put in", "whole", "claim", "executor", "emulators' delivery"), shares)
        + "\n\n![overhead of this worker and the single function](images/bench-overhead.svg)"
    )


def _percentiles(samples: Sequence[float]) -> list[str]:
    parts = (0.5, 0.95, 0.99)
    return [f"{percentile(samples, part):.0f}" if samples else "" for part in parts]


def _shares(network: float, pair: PathPair) -> tuple[Any, ...]:
    ours = pair.ours
    # The requests' answers come after the writes that end the whole: never less than nothing.
    rest = [
        max(0.0, whole - claiming - working)
        for whole, claiming, working in zip(
            ours.whole, ours.claiming or [0.0] * len(ours.whole), ours.working, strict=True
        )
    ]
    samples = (ours.whole, ours.claiming or [0.0], ours.working, rest)
    return (f"{1000 * network:.0f} ms", *(f"{percentile(each, 0.5):.0f}" for each in samples))


def _bursts(bursts: Mapping[int, burst.Burst]) -> str:
    rows = [
        (
            width,
            figure(found.seconds),
            figure(found.firestore_calls_per_step),
            figure(found.model_calls_per_step),
        )
        for width, found in bursts.items()
    ]
    return (
        "## A run whose steps become READY at once\n\n"
        f"One executor process; the model takes {burst.MODEL_SECONDS:.0f} s,"
        " which is taken off. Every step ends in the same document,"
        " where a write that meets another tries again.\n\n"
        + table(
            (
                "steps",
                "seconds to the last end",
                "Firestore calls a step",
                "model calls a step",
            ),
            rows,
        )
    )


def _executor(cost: ExecutorCost) -> str:
    copies = [
        (f"{100 * part:.0f} %", f"{calls:.2f}")
        for part, calls in cost.calls_by_duplicates.items()
    ]
    spent = [(name, f"{milliseconds:.2f}") for name, milliseconds in cost.profile.items()]
    return (
        "## The executor alone\n\n"
        f"One job takes {figure(cost.ours)} ms, the same calls without any logic"
        f" {figure(cost.floor)} ms; the model answers at once."
        f" A job's memory peaks {figure(cost.peak_kibibytes)} KiB above what it began with,"
        f" and leaves {cost.blocks_left:.1f} blocks behind.\n\n"
        + table(("copies among the deliveries", "model calls a step"), copies)
        + "\n\nWhere its CPU goes, by package in its own code, profiled"
        " (which makes everything slower; threads of the storage client aside):\n\n"
        + table(("package", "ms a step"), spent)
    )


def _load(found: load.Load) -> str:
    rows = [
        (limit, figure(rates), len(rates)) for limit, rates in found.steps_per_second.items()
    ]
    return (
        "### Steps a second\n\nOne executor process beside the services, the model answers"
        " at once.\n\n" + table(("in flight", "steps a second", "samples"), rows)
    )


def _growth(growth: load.Growth) -> str:
    chosen = range(0, len(growth.steps), max(1, len(growth.steps) // 10))
    rows = [
        (
            f"{growth.steps[index]:,}",
            f"{growth.steps_per_second[index]:.1f}",
            f"{growth.bare_milliseconds[index]:.1f}",
            f"{growth.mebibytes[index]:.1f}",
        )
        for index in chosen
    ]
    head = ("steps done", "steps a second", "bare calls of one, ms", "executor's MiB")
    return (
        f"### Growth to {growth.steps[-1]:,} steps\n\n{load.GROWTH_IN_FLIGHT} in flight,"
        " every step a run of its own in the same database, which is empty at first; services"
        " and executor got warm on some thousands of steps before.\n\n"
        + table(head, rows)
        + "\n\n![throughput and memory](images/bench-throughput.svg)"
    )


def _recovery(recovery: Recovery) -> str:
    rows = [
        (name, *(f"{value:.1f}" for value in (min(taken), figure(taken).median, max(taken))))
        for name, taken in (
            ("the next attempt's lease", recovery.to_lease),
            ("the end of the step", recovery.to_end),
        )
    ]
    return (
        "## Recovery from a kill -9 during the model call\n\n"
        f"With a lease of {LEASE_SECONDS} s and a sweep every {SWEEP_SECONDS:.0f} s, of"
        f" {len(recovery.to_end)} kills; the model takes {MODEL_SECONDS:.0f} s. The bound is"
        " one lease and one sweep, and whatever a new instance takes to start.\n\n"
        + table(("seconds from the kill to", "least", "median", "most"), rows)
    )


def _waiting(costs: Mapping[float, WaitCost]) -> str:
    rows = [
        (
            f"{seconds:,g} s",
            len(cost.invocations),
            f"{min(cost.invocations)} to {max(cost.invocations)}",
            *(
                figure(samples).times(1000)
                for samples in (
                    cost.executor_seconds,
                    cost.dispatcher_seconds,
                    cost.notify_seconds,
                    cost.in_all,
                    cost.late_seconds,
                )
            ),
        )
        for seconds, cost in costs.items()
    ]
    head = (
        "model's time",
        "steps",
        "executor's invocations a step",
        "executor, ms",
        "dispatcher, ms",
        "notify, ms",
        "in all, ms",
        "late, ms",
    )
    return (
        "## A step that nobody waits for\n\n"
        "`GEMINI_API=interactions` and `WEBHOOK_URL`, by the request logs of the functions'"
        " processes: for so long an instance had the requests of one step, from the first byte"
        " of a request to the last of its answer. The dispatcher's are the three events of the"
        " run, of which two ask for nothing. Late is what passes between the end of the call"
        " and the end of the step. All steps go through the same processes, which had seen"
        " hooks come before, and each is alone with them.\n\n" + table(head, rows)
    )
