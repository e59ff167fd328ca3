"""What the executor alone gets done: with more in flight, and with more and more done."""

import asyncio
import gc
import itertools
import os
import resource
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests.benchmarks.bare import Bare
from tests.benchmarks.site import in_flight, services
from tests.benchmarks.warm_executor import quiet, warm_executor

IN_FLIGHT = (1, 8, 32)
GROWTH_IN_FLIGHT = 8
_BARE_SEQUENCES = 20
#: The services' Java gets faster for some thousands of steps.
_WARM_UP_BLOCKS = 8
_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """Steps a second, the executor alone."""

    #: In flight -> steps a second, block by block; the three take turns.
    steps_per_second: Mapping[int, Sequence[float]]


@dataclass(slots=True, kw_only=True)
class Growth:
    """Block after block of steps."""

    #: Steps done at the end of each block.
    steps: list[int] = field(default_factory=list)
    steps_per_second: list[float] = field(default_factory=list)
    #: Of the same calls with no logic after each block: what the services' growth costs.
    bare_milliseconds: list[float] = field(default_factory=list)
    #: Resident, of the executor's process.
    mebibytes: list[float] = field(default_factory=list)


def measure_load(block: int, rounds: int) -> Load:
    """Blocks with 1, 8 and 32 jobs in flight, in turn."""
    with services(0.0) as addresses, quiet():
        return asyncio.run(_under_load(addresses, block, rounds))


def measure_growth(block: int, blocks: int) -> Growth:
    """Many jobs, one block after the other."""
    with services(0.0) as addresses, quiet():
        return asyncio.run(_growing(addresses, block, blocks))


async def _under_load(addresses: Mapping[str, str], block: int, rounds: int) -> Load:
    jobs, handle, _ = await warm_executor(addresses)
    rates: dict[int, list[float]] = {limit: [] for limit in IN_FLIGHT}
    numbers = itertools.count(100_000, block)
    # Unmeasured: the services' Java compiles what is used, and connections are made.
    await in_flight(await jobs.claimed(_block(numbers, block)), handle, max(IN_FLIGHT))
    for _ in range(rounds):
        for limit, samples in rates.items():
            # One at a time is slow, and steady.
            bodies = await jobs.claimed(_block(numbers, block if limit > 1 else block // 4))
            samples.append(await _rate(bodies, handle, limit))
    return Load(steps_per_second=rates)


async def _growing(addresses: Mapping[str, str], block: int, blocks: int) -> Growth:
    jobs, handle, _ = await warm_executor(addresses)
    numbers, growth = itertools.count(100_000, block), Growth()
    for _ in range(_WARM_UP_BLOCKS):
        bodies = await jobs.claimed(_block(numbers, block))
        await in_flight(bodies, handle, GROWTH_IN_FLIGHT)
    await _empty_database(addresses["FIRESTORE_EMULATOR_HOST"])
    jobs, handle, bare = await warm_executor(addresses)
    for number in range(1, blocks + 1):
        bodies = await jobs.claimed(_block(numbers, block))
        rate = await _rate(bodies, handle, GROWTH_IN_FLIGHT)
        growth.steps_per_second.append(rate)
        first = number * _BARE_SEQUENCES
        growth.bare_milliseconds.append(await _bare(bare, first))
        growth.steps.append(number * block)
        del bodies
        gc.collect()
        growth.mebibytes.append(_resident_mebibytes())
    return growth


async def _empty_database(emulator_host: str) -> None:
    """Empty the database, so that the warm-up does not count as growth."""
    project = os.environ["GOOGLE_CLOUD_PROJECT"]
    documents = f"emulator/v1/projects/{project}/databases/(default)/documents"
    async with httpx2.AsyncClient(trust_env=False, timeout=_SECONDS) as client:
        (await client.delete(f"http://{emulator_host}/{documents}")).raise_for_status()


async def _rate(bodies: list[bytes], handle: Any, limit: int) -> float:
    begun = time.perf_counter()
    await in_flight(bodies, handle, limit)
    return len(bodies) / (time.perf_counter() - begun)


async def _bare(bare: Bare, first: int) -> float:
    samples = []
    for number in range(first, first + _BARE_SEQUENCES):
        begun = time.perf_counter()
        await bare.once(number)
        samples.append((time.perf_counter() - begun) * 1000)
    return statistics.median(samples)


def _block(numbers: Iterator[int], count: int) -> range:
    first = next(numbers)
    return range(first, first + count)


def _resident_mebibytes() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20
