"""The page and the plots that the figures become."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

from infra.local.bundle import REPOSITORY
from tests.benchmarks.cold_start import ColdStart
from tests.benchmarks.executor_cost import ExecutorCost
from tests.benchmarks.filter_cost import FilterCost
from tests.benchmarks.measure import figure, percentile, ratio
from tests.benchmarks.recovery import (
    LEASE_SECONDS,
    MODEL_SECONDS,
    SWEEP_SECONDS,
    Recovery,
)
from tests.benchmarks.whole_path import PathCost

DOCS = REPOSITORY / "docs"
_PAGE = DOCS / "benchmarks.md"
_NOTES = Path(__file__).with_name("notes.md.in")
_IMAGES = DOCS / "images"
_SINGLE = "single function"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """All figures of one run."""

    cold_starts: Mapping[str, ColdStart]
    filters: Sequence[FilterCost]
    executor: ExecutorCost
    #: Network seconds -> ours and the single function's.
    paths: Mapping[float, tuple[PathCost, PathCost]]
    calls_per_step: Mapping[str, float]
    recovery: Recovery


def write_report(measured: Measured) -> None:
    """Write page, plots and raw figures."""
    raw = json.dumps({"machine": _machine(), **asdict(measured)}, indent=1)
    (DOCS / "benchmarks.json").write_text(raw + "\n", encoding="utf-8")
    _plot_filter(measured.filters)
    _plot_throughput(measured.executor)
    sections = [
        _head(),
        _targets(measured),
        _cold_start(measured.cold_starts),
        _filter(measured.filters),
        _paths(measured.paths),
        _executor(measured.executor),
        _calls(measured.calls_per_step),
        _recovery(measured.recovery),
        _NOTES.read_text(encoding="utf-8") if _NOTES.exists() else "",
    ]
    _PAGE.write_text("\n\n".join(part.strip() for part in sections if part) + "\n")


def _head() -> str:
    machine = "; ".join(f"{name}: {value}" for name, value in _machine().items())
    return f"""# Benchmarks

Written by `make bench`; the raw figures are in [benchmarks.json](benchmarks.json).
Figures are medians with their quartiles in brackets.
Two things are compared only within one run, in turn, as the ratio of each pair.
What faults cost, here and elsewhere, is [counted apart](benchmarks-rivals.md).

{machine}."""


def _machine() -> dict[str, str]:
    cpu = next(
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    load = f"{os.getloadavg()[0]:.1f}"
    return {
        "processor": f"{os.cpu_count()} cores of {cpu}",
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "load when written": load,
    }


def _targets(measured: Measured) -> str:
    cold, executor = measured.cold_starts, measured.executor
    time = ratio(cold["dispatcher"].seconds, cold[_SINGLE].seconds)
    memory = ratio(cold["dispatcher"].mebibytes, cold[_SINGLE].mebibytes)
    largest = next(
        cost for cost in measured.filters if cost.steps == 500 and "MiB" not in cost.kind
    )
    blocks = executor.steps_per_second[8]
    flat = [rate / blocks[0] for rate in (min(blocks[1:]), max(blocks[1:]))]
    remembered = list(executor.memory.values())
    working = {
        network: ratio(ours.working, theirs.working)
        for network, (ours, theirs) in measured.paths.items()
    }
    rows = [
        ("dispatcher's cold start, of the single function's time", "≤ 0.4", str(time)),
        ("the same, of its memory", "≤ 0.65", str(memory)),
        (
            "Firestore calls for an event that our own writes cause",
            "0",
            f"{measured.calls_per_step['own event']:.2f}",
        ),
        (
            "Firestore calls a step, first attempt",
            "≤ 4",
            f"{measured.calls_per_step['step']:.2f}",
        ),
        *(
            (
                f"executor's part, of the single function's, {1000 * network:.0f} ms network",
                "≤ 0.5",
                str(value),
            )
            for network, value in working.items()
        ),
        ("executor over the bare calls", "≤ 1.25", str(ratio(executor.ours, executor.floor))),
        (
            "filter of 500 steps that asks for nothing, CPU ms",
            "≤ 3",
            str(figure(largest.milliseconds)),
        ),
        (
            "throughput of later blocks, of the first",
            "0.9 to 1.1",
            f"{flat[0]:.2f} to {flat[1]:.2f}",
        ),
        (
            "memory of the executor, end over a tenth of the way",
            "flat",
            f"{remembered[-1] / remembered[len(remembered) // 10]:.3f}",
        ),
        (
            "model calls a step at 90 % duplicates",
            "1.00",
            f"{executor.calls_by_duplicates[0.9]:.2f}",
        ),
    ]
    return "## To reach, and reached\n\n" + _table(("what", "to reach", "reached"), rows)


def _cold_start(cold: Mapping[str, ColdStart]) -> str:
    rows = [
        (
            name,
            str(figure(start.seconds)),
            str(figure(start.mebibytes)),
            str(ratio(start.seconds, cold[_SINGLE].seconds)),
        )
        for name, start in cold.items()
    ]
    return (
        "## Cold start\n\nFrom a new interpreter to the entry point imported;"
        " memory is the largest resident size.\n\n"
        + _table(("entry point", "seconds", "MiB", "of the single function"), rows)
    )


def _filter(costs: Sequence[FilterCost]) -> str:
    rows = [
        (cost.kind, cost.steps, f"{cost.event_bytes:,}", str(figure(cost.milliseconds)))
        for cost in costs
    ]
    return (
        "## An event that asks for nothing\n\nCPU time of the dispatcher's whole handling;"
        " it calls no service.\n\n"
        + _table(("change", "steps", "event's bytes", "ms"), rows)
        + "\n\n![filter cost by size](images/bench-filter.svg)"
    )


def _paths(paths: Mapping[float, tuple[PathCost, PathCost]]) -> str:
    rows = []
    for network, (ours, theirs) in paths.items():
        for name, cost in (("this worker", ours), (_SINGLE, theirs)):
            rows.append(
                (
                    f"{1000 * network:.0f} ms",
                    name,
                    *(f"{percentile(cost.working, part):.0f}" for part in (0.5, 0.95, 0.99)),
                    *(f"{percentile(cost.whole, part):.0f}" for part in (0.5, 0.95, 0.99)),
                )
            )
    return (
        "## A step's overhead beyond the model's time\n\n"
        "Through real CloudEvents and real processes, one step at a time, in milliseconds."
        " The working part is the request that calls the model:"
        " the push for this worker, the event for the single function."
        " The whole goes from the write that makes the step READY to the write that ends it,"
        " by the database's own clock, and holds the emulators' deliveries:"
        " two of them for this worker, one for the single function.\n\n"
        + _table(
            (
                "network put in",
                "system",
                "working p50",
                "p95",
                "p99",
                "whole p50",
                "p95",
                "p99",
            ),
            rows,
        )
    )


def _executor(cost: ExecutorCost) -> str:
    rates = [
        (limit, str(figure(list(rates) * 2 if len(rates) == 1 else rates)))
        for limit, rates in cost.steps_per_second.items()
    ]
    copies = [
        (f"{100 * part:.0f} %", f"{calls:.2f}")
        for part, calls in cost.calls_by_duplicates.items()
    ]
    return (
        "## The executor alone\n\n"
        f"One job takes {figure(cost.ours)} ms, the same calls without any logic"
        f" {figure(cost.floor)} ms; the model answers at once.\n\n"
        + _table(("in flight", "steps a second"), sorted(rates))
        + "\n\n![throughput and memory](images/bench-throughput.svg)\n\n"
        + _table(("copies among the deliveries", "model calls a step"), copies)
    )


def _calls(calls: Mapping[str, float]) -> str:
    rows = [(name, f"{count:.2f}") for name, count in calls.items()]
    return (
        "## Firestore calls\n\nCounted on the wire, both functions together,"
        " each step first tried once.\n\n" + _table(("what", "calls"), rows)
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
        + _table(("seconds from the kill to", "least", "median", "most"), rows)
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _plot_filter(costs: Sequence[FilterCost]) -> None:
    figure_, axes = plt.subplots(figsize=(6, 3.5))
    for kind in dict.fromkeys(cost.kind for cost in costs if "MiB" not in cost.kind):
        chosen = [cost for cost in costs if cost.kind == kind]
        axes.plot(
            [cost.event_bytes / 1024 for cost in chosen],
            [figure(cost.milliseconds).median for cost in chosen],
            marker="o",
            label=kind,
        )
    axes.set(xlabel="event, KiB", ylabel="CPU ms", title="An event that asks for nothing")
    axes.legend()
    _save(figure_, "bench-filter.svg")


def _plot_throughput(cost: ExecutorCost) -> None:
    figure_, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5))
    rates = cost.steps_per_second[8]
    left.plot(range(1, len(rates) + 1), rates, marker="o")
    left.set(xlabel="block", ylabel="steps a second", title="Throughput, 8 in flight")
    left.set_ylim(bottom=0)
    right.plot(list(cost.memory), list(cost.memory.values()), marker="o")
    right.set(xlabel="steps done", ylabel="MiB", title="Resident memory")
    right.set_ylim(bottom=0)
    _save(figure_, "bench-throughput.svg")


def _save(plot: Any, name: str) -> None:
    plot.tight_layout()
    with mpl.rc_context({"svg.hashsalt": "bench"}):
        plot.savefig(_IMAGES / name, metadata={"Date": None})
    plt.close(plot)
