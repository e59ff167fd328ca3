"""`make bench`: measure, and write `docs/benchmarks.md`.

python -m tests.benchmarks [--quick]
"""

import argparse
import sys
from collections.abc import Callable
from typing import TypeVar

from tests.benchmarks.calls import measure_calls
from tests.benchmarks.cold_start import measure_cold_starts
from tests.benchmarks.executor_cost import measure_executor
from tests.benchmarks.filter_cost import measure_filter
from tests.benchmarks.recovery import measure_recovery
from tests.benchmarks.report import Measured, write_report
from tests.benchmarks.whole_path import measure_paths

_T = TypeVar("_T")
_NETWORK_SECONDS = (0.0, 0.02)


def main() -> None:
    """Measure all, with fewer samples when in a hurry."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="A tenth of the samples.")
    quick = parser.parse_args().quick
    measured = Measured(
        cold_starts=_told("cold starts", lambda: measure_cold_starts(5 if quick else 15)),
        filters=_told("filter", lambda: measure_filter(20 if quick else 200)),
        paths=_told(
            "whole path",
            lambda: {
                network: measure_paths(8 if quick else 60, network_seconds=network)
                for network in _NETWORK_SECONDS
            },
        ),
        recovery=_told("recovery", lambda: measure_recovery(4 if quick else 20)),
        calls_per_step=_told("calls", measure_calls),
        executor=_told(
            "executor",
            lambda: measure_executor(
                pairs=20 if quick else 200, block=50 if quick else 1_000, blocks=10
            ),
        ),
    )
    write_report(measured)


def _told(what: str, measure: Callable[[], _T]) -> _T:
    sys.stderr.write(f"measuring: {what}\n")
    return measure()


if __name__ == "__main__":
    main()
