"""`make bench-rivals`: put every system through every fault, and write what was counted.

python -m tests.benchmarks.rivals [--quick] [--systems NAME,NAME…]
"""

import argparse
import asyncio
import itertools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from infra.local.processes.bundle import REPOSITORY
from infra.local.processes.children import ProcessFailed
from tests.benchmarks.apart import NotMeasured, measured_apart
from tests.benchmarks.rivals.faults import STEPS, Contestant, Counted, Delivery, count
from tests.benchmarks.rivals.gate import Point
from tests.benchmarks.rivals.page import DOCS, write_page
from tests.benchmarks.rivals.products import (
    celery,
    dbos_on_postgres,
    dbos_on_sqlite,
    restate,
)
from tests.benchmarks.rivals.single import single_function
from tests.benchmarks.rivals.worker import worker

_BACKGROUND = {"GEMINI_API": "interactions"}
_ONCE = {"CALL_POLICY": "at_most_once"}
SYSTEMS: Mapping[str, Callable[[], AbstractAsyncContextManager[Any]]] = {
    "this worker": lambda: worker({}),
    "this worker, at most once": lambda: worker(_ONCE),
    "this worker, background calls": lambda: worker(_BACKGROUND),
    "this worker, background calls, at most once": lambda: worker(_BACKGROUND | _ONCE),
    "this worker, background calls with hooks": lambda: worker({}, announced=True),
    "this worker, background calls with hooks, at most once": lambda: worker(
        _ONCE, announced=True
    ),
    "single function": single_function,
    "DBOS on PostgreSQL": dbos_on_postgres,
    "DBOS on SQLite": dbos_on_sqlite,
    "Celery": lambda: celery(lock=False),
    "Celery with a lock": lambda: celery(lock=True),
    "Restate": restate,
}
_QUICK_STEPS = 4
#: Counts do not depend on the clock, and most of the time goes to waiting for leases.
_AT_ONCE = 2
_LIMIT_SECONDS = 1_200.0


def main() -> None:
    """Count for the systems that were named, or for all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="A fifth of the steps.")
    parser.add_argument("--systems", default="", help="Names, separated by semicolons.")
    parser.add_argument("--raw", type=Path, help="Count for one system, and write it here.")
    chosen = parser.parse_args()
    names = [name.strip() for name in chosen.systems.split(";") if name.strip()]
    if unknown := set(names) - set(SYSTEMS):
        parser.error(f"no such system: {', '.join(unknown)}; there are {'; '.join(SYSTEMS)}")
    if chosen.raw:
        counted = asyncio.run(_measured(names[0], _QUICK_STEPS if chosen.quick else STEPS))
        chosen.raw.write_text(json.dumps([asdict(each) for each in counted]))
        return
    sys.exit(_measure(names or list(SYSTEMS), quick=chosen.quick))


def _measure(names: Sequence[str], *, quick: bool) -> int:
    """Count side by side, each system apart; how many failed."""
    folder = REPOSITORY / "build/benchmarks" if quick else DOCS
    options = ["--quick"] if quick else []
    left_out = 0
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        started = {
            pool.submit(
                measured_apart,
                "tests.benchmarks.rivals",
                ["--systems", name, *options],
                within_seconds=_LIMIT_SECONDS,
            ): name
            for name in names
        }
        for done in as_completed(started):
            name = started[done]
            try:
                write_page(name, done.result(), order=list(SYSTEMS), folder=folder)
            except NotMeasured as problem:
                left_out += 1
                _say(f"{name} is left out, its former counts stay: {problem}")
    _say(f"written: {folder / 'benchmarks-rivals.md'}; left out: {left_out}")
    return left_out


async def _measured(name: str, steps: int) -> list[Counted]:
    faults: list[Delivery | Point] = [*Delivery, *Point]
    if "background" not in name:
        faults.remove(Point.BEGIN)
    numbers = itertools.count(1)
    counted = []
    try:
        async with SYSTEMS[name]() as contestant:
            for fault in faults:
                ids = [f"20260105-090000_BTCUSD_{next(numbers):06x}" for _ in range(steps)]
                counted.append(await _told(name, contestant, fault, ids))
    except ProcessFailed as problem:
        sys.exit(f"{name}: {problem}")
    return counted


async def _told(
    name: str, contestant: Contestant, fault: Delivery | Point, steps: list[str]
) -> Counted:
    counted = await count(contestant, fault, steps)
    _say(f"{name}: {counted}")
    return counted


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
