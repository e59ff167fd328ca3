"""A run as a graph: each step right of what it depends on. Geometry only, pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infra.ops.run_view import RunView, StepView

NODE_WIDTH, NODE_HEIGHT = 216, 58
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
class Edge:
    """A dependency, as the `d` of an SVG path, and whether it is satisfied."""

    path: str
    satisfied: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """The picture and its size."""

    width: int
    height: int
    nodes: Sequence[Node]
    edges: Sequence[Edge]


def graph_of(run: RunView) -> Graph:
    """Lay out the run's steps in columns."""
    columns, reach = _columns(run.steps), _reach(run.steps)
    tallest = max((len(column) for column in columns), default=0)
    nodes: dict[str, Node] = {}
    for number, column in enumerate(columns):
        # Beside what they depend on, so that few edges cross.
        column.sort(key=lambda step: _height_of_needs(step, nodes))
        top = (tallest - len(column)) * (NODE_HEIGHT + _GAP_Y) // 2
        for row, step in enumerate(column):
            nodes[step.step_id] = Node(
                step=step,
                label=shortened(step.step_id, _MOST_CHARS),
                x=_MARGIN + number * (NODE_WIDTH + _GAP_X),
                y=_MARGIN + top + row * (NODE_HEIGHT + _GAP_Y),
            )
    return Graph(
        width=2 * _MARGIN + len(columns) * (NODE_WIDTH + _GAP_X) - _GAP_X,
        height=2 * _MARGIN + tallest * (NODE_HEIGHT + _GAP_Y) - _GAP_Y,
        nodes=list(nodes.values()),
        edges=[
            _edge(nodes[name], node)
            for node in nodes.values()
            for name in _nearest(node.step, reach)
            if name in nodes
        ],
    )


def shortened(text: str, most_chars: int) -> str:
    """The text with its middle left out where it is too long."""
    if len(text) <= most_chars:
        return text
    half = (most_chars - 1) // 2
    return f"{text[: most_chars - 1 - half]}…{text[-half:]}"


def _columns(steps: Sequence[StepView]) -> list[list[StepView]]:
    """The steps by the length of the longest way to them; they come in dependency order."""
    depth: dict[str, int] = {}
    for step in steps:
        before = [depth[name] for name in step.depends_on if name in depth]
        depth[step.step_id] = max(before, default=-1) + 1
    columns: list[list[StepView]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for step in steps:
        columns[depth[step.step_id]].append(step)
    return columns


def _reach(steps: Sequence[StepView]) -> Mapping[str, frozenset[str]]:
    """Everything that each step depends on, also through others."""
    reach: dict[str, frozenset[str]] = {}
    for step in steps:
        further = (reach.get(name, frozenset()) for name in step.depends_on)
        reach[step.step_id] = frozenset(step.depends_on).union(*further)
    return reach


def _nearest(step: StepView, reach: Mapping[str, frozenset[str]]) -> Sequence[str]:
    """The dependencies that are not implied by another one: only these get a line."""
    needs = list(dict.fromkeys(step.depends_on))
    implied = frozenset().union(*(reach.get(name, frozenset()) for name in needs))
    return [name for name in needs if name not in implied or name == step.step_id]


def _height_of_needs(step: StepView, nodes: Mapping[str, Node]) -> float:
    heights = [nodes[name].y for name in step.depends_on if name in nodes]
    return sum(heights) / len(heights) if heights else 0.0


def _edge(start: Node, end: Node) -> Edge:
    x1, y1 = start.x + NODE_WIDTH, start.y + NODE_HEIGHT // 2
    x2, y2 = end.x, end.y + NODE_HEIGHT // 2
    middle = (x1 + x2) // 2
    return Edge(
        path=f"M{x1} {y1} C{middle} {y1} {middle} {y2} {x2} {y2}",
        satisfied=start.step.status == "SUCCEEDED",
    )
