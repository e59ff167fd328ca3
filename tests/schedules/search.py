"""All schedules within bounds, the simplest first, and no state twice."""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tests.schedules.execution import MAX_CHOICES, Choice, Execution
from tests.schedules.scenes import Scene
from tests.schedules.visited import Spent, Visited
from tests.simulation.memory import remembered
from tests.simulation.promises import Violation

#: Which of the choices to take, one after the other; after the last, always the first choice.
Path = bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How far an enumeration goes."""

    preemptions: int = 2
    faults: int = 1
    #: Whether to stall while time passes is among the faults; otherwise it is a preemption.
    stalls_are_faults: bool = False

    def __str__(self) -> str:
        kind = "faults" if self.stalls_are_faults else "preemptions"
        return f"≤ {self.preemptions} preemptions, ≤ {self.faults} faults; stalls are {kind}"

    def allow(self, spent: Spent) -> bool:
        """Whether so much may be spent."""
        return spent.preemptions <= self.preemptions and spent.faults <= self.faults

    def after(self, spent: Spent, choice: Choice) -> Spent:
        """What is spent after one more choice."""
        stall = choice.stalls and self.stalls_are_faults
        return Spent(
            spent.preemptions + (choice.preempts and not stall),
            spent.faults + (choice.faulty or stall),
        )


@dataclass(frozen=True, slots=True)
class Found:
    """What running one path showed."""

    #: How many states were new. A state counts again that was reached with less.
    states: int
    #: The other paths through the new states, and how simple each is.
    branches: Sequence[tuple[int, Path]]
    violations: Sequence[Violation] = ()
    schedule: Sequence[str] = ()


def run_path(scene: Scene, path: Path, bounds: Bounds, visited: Visited) -> Found:
    """Run the path and continue to the end, or to a state that was visited."""
    length, spent = len(path), Spent()
    branches: list[tuple[int, Path]] = []
    with remembered(), Execution(scene) as execution:
        for position in range(MAX_CHOICES):
            choices = execution.choices()
            if position >= length:
                if not visited.visit(execution.digest(), spent):
                    return Found(position - length, branches)
                branches += _others(path, choices, spent, bounds)
                path += b"\0"
            if not choices:
                break
            choice = choices[path[position]]
            spent = bounds.after(spent, choice)
            execution.take(choice)
            if execution.checker.violations:
                break
        violations = execution.checker.violations or execution.finish()
        states = len(path) - length
        return Found(states, branches, tuple(violations), tuple(execution.taken))


def _others(
    path: Path, choices: Sequence[Choice], spent: Spent, bounds: Bounds
) -> Iterator[tuple[int, Path]]:
    # The first choice is not among them: the path under way takes it.
    for number, choice in enumerate(choices[1:], start=1):
        after = bounds.after(spent, choice)
        if bounds.allow(after):
            yield after.preemptions + after.faults, path + bytes([number])


@dataclass(slots=True)
class Frontier:
    """The paths that still have to be run, the simplest first."""

    waiting: list[tuple[int, int, Path]] = field(default_factory=lambda: [(0, 0, b"")])
    schedules: int = 0
    states: int = 0

    @property
    def simplicity(self) -> int:
        """Of the next path; there must be one."""
        return self.waiting[0][0]

    def next(self, most: int) -> Sequence[Path]:
        """Take out the next paths, which are equally simple."""
        paths: list[Path] = []
        level = self.simplicity
        while self.waiting and self.simplicity == level and len(paths) < most:
            paths.append(heapq.heappop(self.waiting)[2])
        return paths

    def add(self, found: Found) -> None:
        """Add what running a path showed, and the paths that must be run because of it."""
        self.schedules += 1
        self.states += found.states
        for simplicity, path in found.branches:
            heapq.heappush(self.waiting, (simplicity, len(path), path))


def replayed(scene: Scene, schedule: Iterable[str], *, traced: bool = False) -> Execution:
    """An execution that has taken these choices, as far as they were possible."""
    execution = Execution(scene, traced=traced)
    for text in schedule:
        named = [choice for choice in execution.choices() if choice.text == text]
        if named and not execution.checker.violations:
            execution.take(named[0])
    return execution


def violations(scene: Scene, schedule: Sequence[str]) -> Sequence[Violation]:
    """What the schedule breaks, when everything continues undisturbed after it."""
    with remembered(), replayed(scene, schedule) as execution:
        return tuple(execution.checker.violations) or execution.finish()


def shrunk(scene: Scene, schedule: Sequence[str]) -> Sequence[str]:
    """The schedule with as few choices as possible that still breaks a promise."""
    found, position = list(schedule), 0
    while position < len(found):
        fewer = found[:position] + found[position + 1 :]
        if violations(scene, fewer):
            found = fewer
        else:
            position += 1
    return found
