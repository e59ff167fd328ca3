"""A run as a graph: each step right of what it depends on. Geometry only, pure.

The layers are those of Sugiyama's method: a dependency that spans several columns has a lane
of its own in each column between, so that no line runs through a step.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from infra.ops.cli.terminal import shortened
from infra.ops.runs.view import RunView, StepView
from shared.domain.steps import StepStatus

NODE_WIDTH, NODE_HEIGHT = 216, 58
_LANE_HEIGHT = 14
_GAP_X, _GAP_Y, _MARGIN = 56, 16, 8
_MOST_CHARS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A step's place; `x` and `y` are its upper left corner."""

    step: StepView
    label: str
    x: int
    y: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphEdge:
    """A dependency, as the `d` of an SVG path, and whether it is satisfied."""

    path: str
    satisfied: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """The picture and its size."""

    width: int
    height: int
    nodes: Sequence[Node]
    edges: Sequence[GraphEdge]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slot:
    """A place in a column: a step's, or the lane of a line that passes."""

    column: int
    y: int
    height: int

    @property
    def x(self) -> int:
        return _MARGIN + self.column * (NODE_WIDTH + _GAP_X)

    @property
    def middle(self) -> int:
        return self.y + self.height // 2


@dataclass(frozen=True, slots=True)
class _Lane:
    """Where a dependency passes a column."""

    start: str
    end: str
    column: int


#: What a slot is for: a step, by its id, or a line that passes.
_Key: TypeAlias = str | _Lane


def graph_of(run: RunView) -> Graph:
    """Lay out the run's steps in columns."""
    steps = {step.step_id: step for step in run.steps}
    depth = _depths(run.steps)
    chains = [_chain(edge, depth) for edge in _lines(run.steps, depth)]
    slots = _slots(depth, chains)
    return Graph(
        width=2 * _MARGIN
        + (max(depth.values(), default=0) + 1) * (NODE_WIDTH + _GAP_X)
        - _GAP_X,
        height=max((slot.y + slot.height for slot in slots.values()), default=0) + _MARGIN,
        nodes=[
            Node(
                step=step,
                label=shortened(name, _MOST_CHARS),
                x=slots[name].x,
                y=slots[name].y,
            )
            for name, step in steps.items()
        ],
        edges=[
            GraphEdge(
                path=_path([slots[key] for key in chain]),
                satisfied=steps[str(chain[0])].status == StepStatus.SUCCEEDED,
            )
            for chain in chains
        ],
    )


def _depths(steps: Sequence[StepView]) -> Mapping[str, int]:
    """The length of the longest way to each step; they come in dependency order."""
    depth: dict[str, int] = {}
    for step in steps:
        before = [depth[name] for name in step.depends_on if name in depth]
        depth[step.step_id] = max(before, default=-1) + 1
    return depth


def _lines(steps: Sequence[StepView], depth: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """The dependencies to draw: none that is implied by another, and none of a circle."""
    reach: dict[str, frozenset[str]] = {}
    for step in steps:
        needs = [name for name in dict.fromkeys(step.depends_on) if name in reach]
        implied = frozenset[str]().union(*(reach[name] for name in needs))
        reach[step.step_id] = implied.union(needs)
        yield from (
            (name, step.step_id)
            for name in needs
            if name not in implied and depth[name] < depth[step.step_id]
        )


def _chain(edge: tuple[str, str], depth: Mapping[str, int]) -> Sequence[_Key]:
    """The slots that a line passes, its two ends included."""
    start, end = edge
    lanes = range(depth[start] + 1, depth[end])
    return [start, *(_Lane(start, end, column) for column in lanes), end]


def _slots(depth: Mapping[str, int], chains: Sequence[Sequence[_Key]]) -> Mapping[_Key, _Slot]:
    """Stack each column, everything beside what it comes from, so that few lines cross."""
    before: dict[_Key, list[_Key]] = {}
    columns: list[list[_Key]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name, number in depth.items():
        columns[number].append(name)
    for chain in chains:
        for start, end in pairwise(chain):
            before.setdefault(end, []).append(start)
        for lane in chain:
            if isinstance(lane, _Lane):
                columns[lane.column].append(lane)
    tallest = max((_height(column) for column in columns), default=0)
    slots: dict[_Key, _Slot] = {}
    for number, column in enumerate(columns):
        y = _MARGIN + (tallest - _height(column)) // 2
        for key in sorted(column, key=lambda key: _average(before.get(key, ()), slots)):
            slots[key] = _Slot(column=number, y=y, height=_height([key]))
            y += slots[key].height + _GAP_Y
    return slots


def _average(keys: Sequence[_Key], slots: Mapping[_Key, _Slot]) -> float:
    return sum(slots[key].middle for key in keys) / max(len(keys), 1)


def _height(column: Sequence[_Key]) -> int:
    heights = (NODE_HEIGHT if isinstance(key, str) else _LANE_HEIGHT for key in column)
    return sum(heights) + max(len(column) - 1, 0) * _GAP_Y


def _path(chain: Sequence[_Slot]) -> str:
    """A curve across each gap, and straight through each lane."""
    parts = [f"M{chain[0].x + NODE_WIDTH} {chain[0].middle}"]
    for start, end in pairwise(chain):
        turn = start.x + NODE_WIDTH + _GAP_X // 2
        parts.append(f"C{turn} {start.middle} {turn} {end.middle} {end.x} {end.middle}")
        if end is not chain[-1]:
            parts.append(f"H{end.x + NODE_WIDTH}")
    return " ".join(parts)
