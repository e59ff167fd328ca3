"""What the executor adds to a model call: against bare calls, under duplicates, in memory."""

import asyncio
import cProfile
import gc
import pstats
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.local.processes.bundle import REPOSITORY
from tests.benchmarks.site import Jobs, in_flight, model_calls, services
from tests.benchmarks.warm_executor import quiet, warm_executor

_PACKAGES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorCost:
    """Samples, in milliseconds unless said otherwise."""

    ours: Sequence[float]
    floor: Sequence[float]
    #: Of them, the processor's time of the whole process.
    ours_cpu: Sequence[float]
    floor_cpu: Sequence[float]
    #: Part of deliveries that are copies -> model calls a step.
    calls_by_duplicates: Mapping[float, float]
    #: Of one step after the other: KiB at its peak above what it began with.
    peak_kibibytes: Sequence[float]
    #: Blocks of memory that a step leaves behind, on the average of all.
    blocks_left: float
    #: Package -> milliseconds of CPU a step in its own code, profiled; threads aside.
    profile: Mapping[str, float]


@dataclass(slots=True)
class _Timed:
    """Samples, in milliseconds."""

    elapsed: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    @contextmanager
    def sample(self) -> Iterator[None]:
        """Take one of what the block does."""
        begun, begun_cpu = time.perf_counter(), time.process_time()
        yield
        self.elapsed.append((time.perf_counter() - begun) * 1000)
        self.cpu.append((time.process_time() - begun_cpu) * 1000)


def measure_executor(pairs: int) -> ExecutorCost:
    """Run the executor in this process against services in another."""
    with services(0.0) as addresses, quiet():
        return asyncio.run(_measured(addresses, pairs))


async def _measured(addresses: Mapping[str, str], pairs: int) -> ExecutorCost:
    jobs, handle, bare = await warm_executor(addresses)
    ours, floor = _Timed(), _Timed()
    for number, body in enumerate(await jobs.claimed(range(1_000, 1_000 + pairs))):
        with ours.sample():
            await in_flight([body], handle, 1)
        with floor.sample():
            await bare.once(number)
    copies = await _duplicates(jobs, handle, addresses["GEMINI_BASE_URL"])
    peaks, left = await _allocations(jobs, handle, pairs)
    return ExecutorCost(
        ours=ours.elapsed,
        floor=floor.elapsed,
        ours_cpu=ours.cpu,
        floor_cpu=floor.cpu,
        calls_by_duplicates=copies,
        peak_kibibytes=peaks,
        blocks_left=left,
        profile=await _profile(jobs, handle, pairs),
    )


async def _allocations(jobs: Jobs, handle: Any, steps: int) -> tuple[list[float], float]:
    bodies = await jobs.claimed(range(50_000, 50_000 + steps))
    peaks = []
    gc.collect()
    before = sys.getallocatedblocks()
    await in_flight(bodies[: steps // 2], handle, 1)
    gc.collect()
    left = (sys.getallocatedblocks() - before) / (steps // 2)
    tracemalloc.start()
    for body in bodies[steps // 2 :]:
        tracemalloc.reset_peak()
        begun, _ = tracemalloc.get_traced_memory()
        await in_flight([body], handle, 1)
        peaks.append((tracemalloc.get_traced_memory()[1] - begun) / 1024)
    tracemalloc.stop()
    return peaks, left


async def _profile(jobs: Jobs, handle: Any, steps: int) -> dict[str, float]:
    bodies = await jobs.claimed(range(70_000, 70_000 + steps))
    # CPU time: waiting for services is none.
    profiler = cProfile.Profile(time.thread_time)
    profiler.enable()
    await in_flight(bodies, handle, 1)
    profiler.disable()
    spent: Counter[str] = Counter()
    stats: Any = pstats.Stats(profiler)
    for (path, _, name), (_, _, own, *_) in stats.stats.items():
        spent[_package(path, name)] += 1000 * own / steps
    return dict(spent.most_common(_PACKAGES))


def _package(path: str, name: str) -> str:
    if path == "~":
        return f"built in: {name.strip('<>').removeprefix('built-in method ')}"
    parts = Path(path).parts
    if "site-packages" in parts:
        return "/".join(parts[parts.index("site-packages") + 1 :][:2])
    own = Path(path).is_relative_to(REPOSITORY)
    return Path(path).relative_to(REPOSITORY).parts[0] if own else f"Python's {parts[-1]}"


async def _duplicates(jobs: Jobs, handle: Any, gemini_url: str) -> dict[float, float]:
    found: dict[float, float] = {}
    for index, (part, copies) in enumerate(((0.0, 1), (0.5, 2), (0.9, 10))):
        steps = 20
        first = 10_000 + index * steps
        bodies = await jobs.claimed(range(first, first + steps))
        before = await model_calls(gemini_url)
        await in_flight([body for body in bodies for _ in range(copies)], handle, 16)
        found[part] = (await model_calls(gemini_url) - before) / steps
    return found
