"""`make storm`: a provider that refuses, in virtual time; writes its part of the benchmarks.

python -m tests.storm [NAME …]

Exits with 1 if a row is not reached.
"""

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from typing import Any

from tests.benchmarks.machine import load_now, machine
from tests.benchmarks.report import DOCS, keep, kept
from tests.storm.rows import ROWS, Row, run_row

_BY_NAME = {row.__name__: row for row in ROWS}


def main() -> None:
    """Run the rows that were named, or all; each takes the place of its former figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(_BY_NAME))
    chosen = parser.parse_args().names or list(_BY_NAME)
    if unknown := set(chosen) - set(_BY_NAME):
        parser.error(f"no such row: {', '.join(sorted(unknown))}")
    load = load_now()
    rows: dict[str, Row] = {}
    took: dict[str, float] = {}
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for name, (row, seconds) in zip(chosen, pool.map(run_row, chosen), strict=True):
            rows[name], took[name] = row, round(seconds)
            mark = "reached" if row.reached else "NOT REACHED"
            sys.stdout.write(f"{mark}: {row.scenario}\n  {row.measured}\n")
            sys.stdout.flush()
    figures = {name: asdict(row) for name, row in rows.items()}
    _keep(figures, took, load)
    sys.exit(not all(row.reached for row in rows.values()))


def _keep(figures: dict[str, Any], took: dict[str, float], load: str) -> None:
    former = kept(DOCS, "storm")
    figures = {**former.get("figures", {}), **figures}
    took = {**former.get("seconds of rows", {}), **took}
    keep(
        DOCS,
        "storm",
        {
            "figures": {name: figures[name] for name in _BY_NAME if name in figures},
            "seconds of rows": {name: took[name] for name in _BY_NAME if name in took},
            "seconds": sum(took.values()),
            "load before": load,
            "machine": machine(),
        },
    )


if __name__ == "__main__":
    main()
