"""All schedules within bounds, the simplest first, and no state twice."""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from tests.schedules.execution import MAX_CHOICES, Choice, Execution
from tests.schedules.scenes import Scene
from tests.simulation.memory import remembered
from tests.simulation.promises import Violation

#: Which of the choices to take, one after the other; after the last, always the first choice.
Path = bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How far an enumeration goes."""

    preemptions: int = 2
    faults: int = 1


@dataclass(frozen=True, slots=True, order=True)
class Spent:
    """How much of the bounds a schedule has used."""

    preemptions: int = 0
    faults: int = 0

    def after(self, choice: Choice) -> "Spent":
        """What is used after one more choice."""
        return Spent(self.preemptions + choice.preempts, self.faults + choice.faulty)

    def within(self, bounds: Bounds) -> bool:
        """Whether the bounds allow it."""
        return self.preemptions <= bounds.preemptions and self.faults <= bounds.faults

    def covers(self, other: "Spent") -> bool:
        """Whether every continuation that the other allows is allowed after this, too."""
        return self.preemptions <= other.preemptions and self.faults <= other.faults


@dataclass(frozen=True, slots=True)
class Seen:
    """A state on a schedule, and the other ways to continue from it."""

    state: bytes
    spent: Spent
    #: By the number of the choice. The first choice is not among them: the schedule takes it.
    others: Sequence[tuple[int, Spent]]


@dataclass(frozen=True, slots=True)
class Found:
    """What running one path showed."""

    path: Path
    seen: Sequence[Seen]
    violations: Sequence[Violation] = ()
    schedule: Sequence[str] = ()


@dataclass(slots=True)
class Visited:
    """The states that were visited, with the least that was used to reach each of them."""

    least: dict[bytes, tuple[Spent, ...]] = field(default_factory=dict)

    def covers(self, state: bytes, spent: Spent) -> bool:
        """Whether nothing new can follow from this state."""
        return any(known.covers(spent) for known in self.least.get(state, ()))

    def add(self, state: bytes, spent: Spent) -> None:
        """Remember the state."""
        kept = [known for known in self.least.get(state, ()) if not spent.covers(known)]
        self.least[state] = (*kept, spent)


def run_path(scene: Scene, path: Path, bounds: Bounds, visited: Visited) -> Found:
    """Run the path and continue to the end, or to a state that was visited."""
    seen: list[Seen] = []
    spent = Spent()
    with remembered(), Execution(scene) as execution:
        for position in range(MAX_CHOICES):
            choices = execution.choices()
            if position >= len(path):
                state = execution.digest()
                if visited.covers(state, spent):
                    return Found(path, seen)
                visited.add(state, spent)
                seen.append(Seen(state, spent, list(_others(choices, spent, bounds))))
            if not choices:
                break
            choice = choices[path[position] if position < len(path) else 0]
            spent = spent.after(choice)
            execution.take(choice)
            if execution.checker.violations:
                break
        violations = execution.checker.violations or execution.finish()
        return Found(path, seen, tuple(violations), tuple(execution.taken))


def _others(
    choices: Sequence[Choice], spent: Spent, bounds: Bounds
) -> Iterator[tuple[int, Spent]]:
    for number, choice in enumerate(choices):
        after = spent.after(choice)
        if number and after.within(bounds):
            yield number, after


@dataclass(slots=True)
class Frontier:
    """The paths that still have to be run, the simplest first."""

    bounds: Bounds
    waiting: list[tuple[int, int, Path]] = field(default_factory=lambda: [(0, 0, b"")])
    visited: Visited = field(default_factory=Visited)
    schedules: int = 0

    def next(self, most: int) -> Sequence[Path]:
        """Take out the next paths."""
        count = min(most, len(self.waiting))
        return [heapq.heappop(self.waiting)[2] for _ in range(count)]

    def add(self, found: Found) -> None:
        """Add what running a path showed, and the paths that must be run because of it."""
        self.schedules += 1
        path = found.path
        for seen in found.seen:
            if self.visited.covers(seen.state, seen.spent):
                return
            self.visited.add(seen.state, seen.spent)
            for number, spent in seen.others:
                longer = path + bytes([number])
                simplicity = spent.preemptions + spent.faults
                heapq.heappush(self.waiting, (simplicity, len(longer), longer))
            path += b"\0"


def first_violation(scene: Scene, bounds: Bounds, most: int) -> tuple[Found | None, int]:
    """The simplest schedule that breaks a promise, if any; and how many schedules were run."""
    frontier = Frontier(bounds)
    while frontier.waiting and frontier.schedules < most:
        [path] = frontier.next(1)
        found = run_path(scene, path, bounds, Visited())
        if found.violations:
            return found, frontier.schedules + 1
        frontier.add(found)
    return None, frontier.schedules


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
