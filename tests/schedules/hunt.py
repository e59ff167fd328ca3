"""How soon the enumeration finds each deliberate breakage, and by which schedule."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.schedules.breakages import BREAKAGES, broken
from tests.schedules.campaign import pool
from tests.schedules.scenes import SCENES
from tests.schedules.search import Bounds, Found, Frontier, run_path, shrunk, violations
from tests.schedules.visited import OwnVisited

#: Schedules with more preemptions and crashes than this are not tried.
_MOST_DEVIATIONS = 3
_BOUNDS = Bounds(preemptions=2, faults=1, stalls_are_faults=True)
#: Each breakage must be found within this many schedules.
MOST_SCHEDULES = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Catch:
    """How a breakage was found."""

    name: str
    schedules: int
    scene: str = ""
    #: The shortest schedule; None when nothing was found.
    schedule: tuple[str, ...] | None = None
    violation: str = ""

    def as_json(self) -> dict[str, object]:
        """The figures."""
        return {
            "name": self.name,
            "what": BREAKAGES[self.name].what,
            "schedules": self.schedules,
            "scene": self.scene,
            "schedule": self.schedule,
            "violation": self.violation,
        }

    def __str__(self) -> str:
        if self.schedule is None:
            return f"{self.name}: NOT CAUGHT in {self.schedules} schedules"
        return (
            f"{self.name}: schedule {self.schedules}, scene {self.scene}:"
            f" {' '.join(self.schedule)}: {self.violation}"
        )


def hunt(name: str) -> Catch:
    """Break it, and enumerate all scenes, the simplest schedules first, until one shows it.

    Raises:
        RuntimeError: what was found breaks a promise without the breakage, too.
    """
    with broken(name):
        catch = _hunted(name)
    if catch.schedule is not None and violations(SCENES[catch.scene], catch.schedule):
        raise RuntimeError(f"{catch.scene}: {catch.schedule} needs no breakage")
    return catch


def _hunted(name: str) -> Catch:
    for number, (scene, found) in enumerate(_simplest_first(), start=1):
        if found.violations:
            return Catch(
                name=name,
                schedules=number,
                scene=scene,
                schedule=tuple(shrunk(SCENES[scene], found.schedule)),
                violation=str(found.violations[0]),
            )
        if number >= MOST_SCHEDULES:
            break
    return Catch(name=name, schedules=MOST_SCHEDULES)


def _simplest_first() -> Iterator[tuple[str, Found]]:
    frontiers = {name: Frontier() for name in SCENES}
    visited = {name: OwnVisited() for name in SCENES}
    for deviations in range(_MOST_DEVIATIONS + 1):
        for name, frontier in frontiers.items():
            while frontier.waiting and frontier.simplicity <= deviations:
                [path] = frontier.next(1)
                found = run_path(SCENES[name], path, _BOUNDS, visited[name])
                yield name, found
                frontier.add(found)


def hunted() -> Iterator[Catch]:
    """Hunt for every breakage, each in turn."""
    with pool() as workers:
        yield from workers.processes.map(hunt, BREAKAGES)
