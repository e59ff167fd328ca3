"""`make bench-rivals`: put every system through every fault, and write what was counted.

python -m tests.benchmarks.rivals [SYSTEM ...]
"""

import argparse
import asyncio
import itertools
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

from infra.local.processes import ProcessFailed
from tests.benchmarks.rivals.faults import STEPS, Contestant, Counted, Delivery, count
from tests.benchmarks.rivals.gate import Point
from tests.benchmarks.rivals.page import write_page
from tests.benchmarks.rivals.products import celery, dbos, restate
from tests.benchmarks.rivals.single import single_function
from tests.benchmarks.rivals.worker import worker

_BACKGROUND = {"GEMINI_API": "interactions"}
_ONCE = {"CALL_POLICY": "at_most_once"}
SYSTEMS: Mapping[str, Callable[[], AbstractAsyncContextManager[Any]]] = {
    "this worker": lambda: worker({}),
    "this worker, at most once": lambda: worker(_ONCE),
    "this worker, background calls": lambda: worker(_BACKGROUND),
    "this worker, background calls, at most once": lambda: worker(_BACKGROUND | _ONCE),
    "single function": single_function,
    "DBOS": dbos,
    "Celery": lambda: celery(lock=False),
    "Celery with a lock": lambda: celery(lock=True),
    "Restate": restate,
}


def main() -> None:
    """Measure the systems that were named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("systems", nargs="*", choices=[[], *SYSTEMS])
    names = parser.parse_args().systems or list(SYSTEMS)
    left_out = 0
    for name in names:
        try:
            counted = asyncio.run(_measured(name))
        except ProcessFailed as problem:
            left_out += 1
            sys.stderr.write(f"{name} is left out, its former counts stay: {problem}\n")
        else:
            write_page(name, counted, order=list(SYSTEMS))
    sys.exit(bool(left_out))


async def _measured(name: str) -> list[Counted]:
    faults: list[Delivery | Point] = [*Delivery, *Point]
    if "background" not in name:
        faults.remove(Point.BEGIN)
    numbers = itertools.count(1)
    counted = []
    async with SYSTEMS[name]() as contestant:
        for fault in faults:
            steps = [f"20260105-090000_BTCUSD_{next(numbers):06x}" for _ in range(STEPS)]
            counted.append(await _told(name, contestant, fault, steps))
    return counted


async def _told(
    name: str, contestant: Contestant, fault: Delivery | Point, steps: list[str]
) -> Counted:
    counted = await count(contestant, fault, steps)
    sys.stderr.write(f"{name}: {counted}\n")
    return counted


if __name__ == "__main__":
    main()
