"""State diagrams, laid out by Graphviz: pictures that need no script where they are shown."""

import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: A port of Graphviz's `dot` in one program, which writes the same bytes on every platform:
#: https://github.com/graphviz-pure/graphviz-pure
_DOT = Path(sys.executable).parent / "graphviz-pure"
_BEGIN = "begin"
_FONT = "Helvetica,Arial,sans-serif"
#: As the console colors states.
_CLASSES = {"READY": "warn", "QUEUED": "warn", "RUNNING": "busy", "SUCCEEDED": "good"}
_CLASSES |= {"FAILED": "bad", "CANCELLED": "odd", "ABANDONED": "odd"}
#: The ground is part of the picture, so it is readable on any page.
_STYLE = """<style>
svg { color-scheme: light dark }
.graph > polygon { fill: #ffffff }
.node path, .node ellipse { fill: #e9edf2; stroke: #4a5668 }
.edge path { stroke: #566274 } .edge polygon { fill: #566274; stroke: #566274 }
text { fill: #1a2230 } .edge text { fill: #4a5668 }
.good path { fill: #e0f4e8; stroke: #12683c } .bad path { fill: #fdebe9; stroke: #ad1d14 }
.warn path { fill: #fcf1d6; stroke: #7d5200 } .busy path { fill: #e4edfd; stroke: #1650b5 }
.odd path { fill: #f2e9fb; stroke: #6b2fa0 } .begin ellipse { fill: #4a5668 }
@media (prefers-color-scheme: dark) {
.graph > polygon { fill: #161d26 }
.node path, .node ellipse { fill: #232c38; stroke: #b2bdcc }
.edge path { stroke: #a2aebe } .edge polygon { fill: #a2aebe; stroke: #a2aebe }
text { fill: #e7ecf3 } .edge text { fill: #b2bdcc }
.good path { fill: #12301f; stroke: #74dba3 } .bad path { fill: #3b1715; stroke: #ff9a90 }
.warn path { fill: #362804; stroke: #f2c668 } .busy path { fill: #142646; stroke: #94b9ff }
.odd path { fill: #2c1b40; stroke: #cfa8f7 } .begin ellipse { fill: #b2bdcc }
}
</style>"""
_HEAD = re.compile(r"\A.*?(?=<svg )", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->\n?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Arrow:
    """A move from one state to another; from nowhere, where a life begins."""

    start: str | None
    end: str
    label: str = ""


def arrows_of(transitions: Mapping[Any, Mapping[Any, str]], *, by: str = "") -> Iterator[Arrow]:
    """The arrows of a transition table; `by` says whose moves they are."""
    for state, moves in transitions.items():
        for move, target in moves.items():
            yield Arrow(state, target, by + move)


def state_diagram(title: str, arrows: Sequence[Arrow]) -> str:
    """The diagram as SVG, light or dark as its reader prefers."""
    drawn = subprocess.run(
        [_DOT, "-Tsvg"],
        input="\n".join(_source(title, arrows)),
        capture_output=True,
        check=True,
        encoding="utf-8",
    )
    svg = _COMMENT.sub("", _HEAD.sub("", drawn.stdout, count=1))
    head, end, body = svg.partition('xmlns:xlink="http://www.w3.org/1999/xlink">')
    return f"{head}{end}\n{_STYLE}{body}"


def _source(title: str, arrows: Sequence[Arrow]) -> Iterator[str]:
    yield f'digraph "{title}" {{'
    yield f'graph [rankdir=LR, pad=0.2, nodesep=0.35, ranksep=0.7, fontname="{_FONT}"]'
    yield (
        "node [shape=box, style=rounded, height=0.42, margin=0.16, "
        f'fontsize=12, fontname="{_FONT}"]'
    )
    yield f'edge [fontsize=11, arrowsize=0.7, fontname="{_FONT}"]'
    states = dict.fromkeys(state for one in arrows for state in (one.start, one.end))
    for state in states:
        if state is None:
            yield f'{_BEGIN} [shape=circle, label="", width=0.18, fixedsize=true, class=begin]'
        else:
            yield f'{state} [class="{_CLASSES.get(state, "idle")}"]'
    between: dict[tuple[str, str], list[str]] = defaultdict(list)
    for one in arrows:
        between[one.start or _BEGIN, one.end].append(one.label)
    for (start, end), labels in between.items():
        yield f'{start} -> {end} [label=" {", ".join(filter(None, labels))} "]'
    yield "}"
