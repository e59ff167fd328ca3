"""The parts of `make bench`, each of which can be measured for itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.benchmarks.burst import Burst, measure_bursts
from tests.benchmarks.calls import CallCounts, measure_calls
from tests.benchmarks.cold_start import ColdStart, measure_cold_starts
from tests.benchmarks.executor_cost import ExecutorCost, measure_executor
from tests.benchmarks.filter_cost import FilterCost, measure_filter
from tests.benchmarks.first_request import FirstRequest, measure_first_requests
from tests.benchmarks.instructions import measure_instructions
from tests.benchmarks.load import Growth, Load, measure_growth, measure_load
from tests.benchmarks.recovery import Recovery, measure_recovery
from tests.benchmarks.waiting import WaitCost, measure_waiting
from tests.benchmarks.whole_path import PathPair, measure_paths
from tests.storm.rows import ROWS, Row

_NETWORK_SECONDS = (0.0, 0.02)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The figures of all parts; None of those that were never measured."""

    cold_start: Mapping[str, ColdStart] | None = None
    first_request: Mapping[str, FirstRequest] | None = None
    filter: Sequence[FilterCost] | None = None
    instructions: Mapping[str, Mapping[str, float]] | None = None
    calls: CallCounts | None = None
    paths: Mapping[float, PathPair] | None = None
    bursts: Mapping[int, Burst] | None = None
    executor: ExecutorCost | None = None
    load: Load | None = None
    growth: Growth | None = None
    recovery: Recovery | None = None
    waiting: Mapping[float, WaitCost] | None = None
    storm: Mapping[str, Row] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """How one field of `Measured` is had, given whether to be quick, and the time it has."""

    measure: Callable[[bool], Any]
    limit_seconds: float = 600.0


PARTS: Mapping[str, Part] = {
    "cold_start": Part(measure=lambda quick: measure_cold_starts(5 if quick else 15)),
    "first_request": Part(measure=lambda quick: measure_first_requests(3 if quick else 12)),
    "filter": Part(measure=lambda quick: measure_filter(20 if quick else 200)),
    "instructions": Part(
        measure=lambda quick: measure_instructions(quick=quick), limit_seconds=1_200.0
    ),
    "calls": Part(measure=lambda _: measure_calls()),
    "paths": Part(
        measure=lambda quick: measure_paths(
            8 if quick else 50, network_seconds=_NETWORK_SECONDS
        ),
        limit_seconds=900.0,
    ),
    "bursts": Part(measure=lambda quick: measure_bursts(2 if quick else 7)),
    "executor": Part(measure=lambda quick: measure_executor(20 if quick else 200)),
    "load": Part(
        measure=lambda quick: measure_load(*((40, 3) if quick else (160, 7))),
    ),
    "growth": Part(
        measure=lambda quick: measure_growth(*((50, 8) if quick else (500, 20))),
        limit_seconds=1_800.0,
    ),
    "recovery": Part(measure=lambda quick: measure_recovery(3 if quick else 15)),
    # As long as the longest of them, and hardly any work.
    "waiting": Part(
        measure=lambda quick: (
            measure_waiting((1.0, 3.0), steps=3, apart_seconds=1.0)
            if quick
            else measure_waiting((10.0, 60.0, 600.0, 3_600.0), steps=20, apart_seconds=3.0)
        ),
        limit_seconds=5_400.0,
    ),
    # `make storm` runs the rows side by side.
    "storm": Part(
        measure=lambda _: {row.__name__: row() for row in ROWS}, limit_seconds=3_600.0
    ),
}
