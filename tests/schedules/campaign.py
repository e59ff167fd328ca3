"""Enumerations on all processors: bounded, and continued from where they were left."""

import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from multiprocessing import get_context
from pathlib import Path as FilePath
from typing import Any

from tests.schedules.scenes import SCENES
from tests.schedules.search import Bounds, Found, Frontier, Path, run_path
from tests.schedules.visited import SharedVisited

_ROOT = FilePath(__file__).parents[2]
_SOURCES = ("dispatcher", "executor", "shared", "tests/simulation", "tests/schedules")
_CHUNK = 24
#: 64 MiB have room for four million states.
_TABLE_BYTES = 16 << 22


@dataclass(frozen=True, slots=True, kw_only=True)
class Enumerated:
    """The result of an enumeration."""

    scene: str
    bounds: Bounds
    schedules: int
    states: int
    #: How many schedules were not run before the time was over.
    left: int
    seconds: float
    #: The simplest schedule that breaks a promise.
    broken: Found | None

    @property
    def sound(self) -> bool:
        """Whether all schedules were enumerated, and none broke a promise."""
        return not self.left and self.broken is None

    def as_json(self) -> dict[str, object]:
        """The figures."""
        return {
            "scene": self.scene,
            "preemptions": self.bounds.preemptions,
            "faults": self.bounds.faults,
            "stalls_are_faults": self.bounds.stalls_are_faults,
            "schedules": self.schedules,
            "states": self.states,
            "left": self.left,
            "seconds": round(self.seconds, 1),
            "broken": list(self.broken.schedule) if self.broken else None,
        }

    def __str__(self) -> str:
        broken = f"BROKEN by {' '.join(self.broken.schedule)}" if self.broken else "0 broken"
        left = f", {self.left} NOT RUN" if self.left else ""
        return (
            f"{self.scene}: {SCENES[self.scene].what};"
            f" {self.bounds}:"
            f" {self.schedules} schedules, {self.states} states in {self.seconds:.0f} s"
            f"; {broken}{left}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """A process on each processor, and the table of visited states that they share."""

    processes: ProcessPoolExecutor
    visited: SharedVisited


@contextmanager
def pool() -> Iterator[Pool]:
    """A pool that ends with the block."""
    context = get_context("spawn")
    table, lock = context.RawArray("B", _TABLE_BYTES), context.Lock()
    with ProcessPoolExecutor(
        os.cpu_count(), context, initializer=_share, initargs=(table, lock)
    ) as processes:
        yield Pool(processes=processes, visited=_shared(table, lock))


def _shared(table: Any, lock: AbstractContextManager[object]) -> SharedVisited:
    return SharedVisited(memoryview(table).cast("B"), lock)


#: In a process of the pool: the table.
_visited: list[SharedVisited] = []


def _share(table: Any, lock: AbstractContextManager[object]) -> None:
    _visited.append(_shared(table, lock))


def _run(scene: str, paths: Sequence[Path], bounds: Bounds) -> Sequence[Found]:
    return [run_path(SCENES[scene], path, bounds, _visited[0]) for path in paths]


def enumerate_scene(
    workers: Pool,
    scene: str,
    bounds: Bounds,
    *,
    seconds: float,
    kept_in: FilePath | None = None,
) -> Enumerated:
    """Run all schedules of the scene, until the time is over or one breaks a promise.

    Args:
        workers: where they run.
        scene: the name of the scene.
        bounds: how far to go.
        seconds: how long at most, on the wall.
        kept_in: the folder where an unfinished enumeration waits to be gone on with.
    """
    begun = time.monotonic()
    place = kept_in / _name(scene, bounds) if kept_in else None
    workers.visited.clear()
    frontier = _kept(place, workers.visited) or Frontier()
    level, broken = 0, None
    running: set[Future[Sequence[Found]]] = set()
    while not broken and (running or frontier.waiting):
        if time.monotonic() - begun > seconds:
            break
        # A state that is reached with more first would be visited again with less.
        level = level if running else frontier.simplicity
        while (
            frontier.waiting
            and frontier.simplicity <= level
            and len(running) < 2 * (os.cpu_count() or 1)
        ):
            paths = frontier.next(_CHUNK)
            running.add(workers.processes.submit(_run, scene, paths, bounds))
        done, running = wait(running, return_when=FIRST_COMPLETED)
        broken = _added(frontier, done)
    late, _ = wait(running)
    broken = _added(frontier, late) or broken
    over = broken is not None or not frontier.waiting
    _keep(place, frontier, workers.visited, done=over)
    return Enumerated(
        scene=scene,
        bounds=bounds,
        schedules=frontier.schedules,
        states=frontier.states,
        left=0 if broken else len(frontier.waiting),
        seconds=time.monotonic() - begun,
        broken=broken,
    )


def _name(scene: str, bounds: Bounds) -> str:
    stalls = "-stalls" if bounds.stalls_are_faults else ""
    return f"{scene}-{bounds.preemptions}-{bounds.faults}{stalls}.json"


def _added(frontier: Frontier, done: set[Future[Sequence[Found]]]) -> Found | None:
    broken: list[Found] = []
    for future in done:
        for found in future.result():
            frontier.add(found)
            broken += [found] if found.violations else []
    return min(broken, key=lambda found: len(found.schedule), default=None)


@cache
def _fingerprint() -> str:
    """A fingerprint of the code: what was enumerated on other code says nothing about it."""
    digest = blake2b(digest_size=16)
    for folder in _SOURCES:
        for file in sorted((_ROOT / folder).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _keep(
    place: FilePath | None, frontier: Frontier, visited: SharedVisited, *, done: bool
) -> None:
    if place is None:
        return
    if done:
        place.unlink(missing_ok=True)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    kept = {
        "code": _fingerprint(),
        "schedules": frontier.schedules,
        "states": frontier.states,
        "visited": b"".join(visited.slots()).hex(),
        "waiting": [[simple, length, path.hex()] for simple, length, path in frontier.waiting],
    }
    place.write_text(json.dumps(kept))


def _kept(place: FilePath | None, visited: SharedVisited) -> Frontier | None:
    if place is None or not place.exists():
        return None
    kept = json.loads(place.read_text())
    if kept["code"] != _fingerprint():
        return None
    visited.take(bytes.fromhex(kept["visited"]))
    waiting = [
        (simple, length, bytes.fromhex(path)) for simple, length, path in kept["waiting"]
    ]
    return Frontier(waiting, kept["schedules"], kept["states"])
