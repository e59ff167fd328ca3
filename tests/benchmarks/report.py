"""The raw figures, and the page and the plots that they become."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from infra.local.processes.bundle import REPOSITORY
from tests.benchmarks.parts import PARTS, Measured
from tests.benchmarks.sections import sections, table

DOCS = REPOSITORY / "docs"
_RAW = "benchmarks.json"
_HEAD = """\
<!-- Written by `make bench` from tests/benchmarks: edit that. -->

# Benchmarks

Written by `make bench`; the raw figures are in [benchmarks.json](benchmarks.json).
Figures are medians with their quartiles in brackets.
Two things are compared only within one run, in turn, as the ratio of each pair.
What faults cost, here and elsewhere, is [counted apart](benchmarks-rivals.md);
what 1,000 steps cost at list prices, by executor concurrency, is in [cost](reference/cost.md);
what was predicted, changed and measured is in [the history](benchmarks-history.md).

"""


def keep(folder: Path, part: str, measured: Mapping[str, Any]) -> None:
    """Put one part's figures in the place of its former ones, and write page and plots anew."""
    folder.mkdir(parents=True, exist_ok=True)
    raw = _raw(folder)
    raw[part] = measured
    raw = {name: raw[name] for name in PARTS if name in raw}
    (folder / _RAW).write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    (folder / "benchmarks.md").write_text(page(raw), encoding="utf-8")
    # Late: the page's test needs no plots.
    from tests.benchmarks.plots import draw

    draw(_figures(raw), folder / "images")


def kept(folder: Path, part: str) -> Mapping[str, Any]:
    """What was measured of one part before."""
    found: Mapping[str, Any] = _raw(folder).get(part, {})
    return found


def _raw(folder: Path) -> dict[str, Any]:
    path = folder / _RAW
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def page(raw: Mapping[str, Mapping[str, Any]]) -> str:
    """The page of these figures."""
    machines = {
        "; ".join(f"{name}: {value}" for name, value in each["machine"].items())
        for each in raw.values()
    }
    facts = "\n".join(f"{machine}." for machine in sorted(machines))
    missing = [name for name in PARTS if name not in raw]
    left_out = f"\nNot measured: {', '.join(missing)}." if missing else ""
    parts = [(name, each["seconds"], each["load before"]) for name, each in raw.items()]
    how = "## How long it took\n\n`make bench PARTS=…` measures some parts again.\n\n" + table(
        ("part", "seconds", "load of the machine before it"), parts
    )
    return _HEAD + "\n\n".join([facts + left_out, *sections(_figures(raw)), how]) + "\n"


def _figures(raw: Mapping[str, Mapping[str, Any]]) -> Measured:
    figures = {name: each["figures"] for name, each in raw.items()}
    return TypeAdapter(Measured).validate_python(figures)
