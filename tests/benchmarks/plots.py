"""The plots of the page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

from tests.benchmarks.filter_cost import FilterCost
from tests.benchmarks.load import GROWTH_IN_FLIGHT, Growth
from tests.benchmarks.measure import figure, percentile
from tests.benchmarks.parts import Measured
from tests.benchmarks.whole_path import PathPair


def draw(measured: Measured, folder: Path) -> None:
    """Write the plots of what was measured into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    if measured.filter:
        _filter(measured.filter, folder)
    if measured.growth:
        _growth(measured.growth, folder)
    if measured.paths:
        _paths(list(measured.paths.items()), folder)


def _filter(costs: Sequence[FilterCost], folder: Path) -> None:
    figure_, axes = plt.subplots(figsize=(6, 3.5))
    for kind in dict.fromkeys(cost.kind for cost in costs if "MiB" not in cost.kind):
        chosen = [cost for cost in costs if cost.kind == kind]
        axes.plot(
            [cost.event_bytes / 1024 for cost in chosen],
            [figure(cost.milliseconds).median for cost in chosen],
            marker="o",
            label=kind,
        )
    axes.set(xlabel="event, KiB", ylabel="CPU ms", title="An event by its size")
    axes.legend()
    _save(figure_, folder / "bench-filter.svg")


def _growth(growth: Growth, folder: Path) -> None:
    figure_, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5))
    left.plot(growth.steps, growth.steps_per_second, marker="o")
    title = f"Throughput, {GROWTH_IN_FLIGHT} in flight"
    left.set(xlabel="steps done", ylabel="steps a second", title=title)
    left.set_ylim(bottom=0)
    right.plot(growth.steps, growth.mebibytes, marker="o")
    right.set(xlabel="steps done", ylabel="MiB", title="Resident memory")
    right.set_ylim(bottom=0)
    _save(figure_, folder / "bench-throughput.svg")


def _paths(paths: Sequence[tuple[float, PathPair]], folder: Path) -> None:
    figure_, axes = plt.subplots(1, len(paths), figsize=(9, 3.5), squeeze=False)
    parts = [number / 100 for number in range(101)]
    for (network, pair), axis in zip(paths, axes[0], strict=True):
        for name, cost in (("this worker", pair.ours), ("single function", pair.theirs)):
            axis.plot([percentile(cost.whole, part) for part in parts], parts, label=name)
        axis.set(xlabel="ms", ylabel="part of steps", title=f"{1000 * network:.0f} ms network")
        axis.set_xlim(left=0)
        axis.legend()
    _save(figure_, folder / "bench-overhead.svg")


def _save(plot: Any, path: Path) -> None:
    plot.tight_layout()
    with mpl.rc_context({"svg.hashsalt": "bench"}):
        plot.savefig(path, metadata={"Date": None})
    plt.close(plot)
