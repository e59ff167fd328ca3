"""How commands print: a table on a terminal, plain lines in a pipe, JSON when asked for."""

import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.table import Column
from rich.text import Text

from infra.ops.diagnosis import Level
from shared.domain.steps import StepStatus

#: What could move the cursor, change colors or retitle the window; tabs and line ends stay.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_STYLES: Mapping[str, str] = {
    StepStatus.SUCCEEDED: "green",
    StepStatus.FAILED: "bold red",
    StepStatus.RUNNING: "bold cyan",
    StepStatus.READY: "yellow",
    StepStatus.PENDING: "dim",
    StepStatus.SKIPPED: "dim",
    StepStatus.CANCELLED: "magenta",
}
_LEVEL_STYLES: Mapping[Level, str] = {
    Level.DONE: "dim",
    Level.WAITING: "dim",
    Level.STUCK: "bold yellow",
    Level.FAILED: "red",
}
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def harmless(text: str) -> str:
    """The text without what a terminal would obey: documents are written by others."""
    return _CONTROLS.sub("�", text)


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object, indented where a person looks."""
    indent = 2 if sys.stdout.isatty() else None
    typer.echo(json.dumps(value, ensure_ascii=False, indent=indent, default=str))


def print_line(fields: Sequence[object]) -> None:
    """Print one line of fields, separated by tabs, for `cut` and `grep`."""
    cells = ("" if field is None else str(field) for field in fields)
    typer.echo("\t".join(" ".join(harmless(cell).split()) for cell in cells))


def terminal() -> Console | None:
    """The terminal that standard output is; None in a pipe or a file."""
    console = Console(highlight=False, markup=False, emoji=False)
    return console if console.is_terminal and os.environ.get("TERM") != "dumb" else None


def status_text(status: str) -> Text:
    """A status in its color."""
    return Text(harmless(status), style=_STYLES.get(status, ""))


def id_column(header: str, ids: Iterable[str], console: Console) -> Column:
    """A column that cuts no id: runs differ at their ends, and an id is there to be copied."""
    longest = max(map(len, ids), default=0)
    # Where there is room, the other columns give way; where there is none, an id is folded.
    return Column(header, overflow="fold", no_wrap=2 * longest <= console.width)


def level_style(level: Level) -> str:
    """The style of what is said about a step."""
    return _LEVEL_STYLES[level]


def age(seconds: int | None) -> str:
    """A duration in its two largest units, such as 2h 5m."""
    if seconds is None:
        return ""
    seconds = max(0, seconds)
    if seconds < _MINUTE:
        return f"{seconds}s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE}m {seconds % _MINUTE}s"
    if seconds < _DAY:
        return f"{seconds // _HOUR}h {seconds % _HOUR // _MINUTE}m"
    return f"{seconds // _DAY}d {seconds % _DAY // _HOUR}h"


def count(number: int | None) -> str:
    """A number with thousands apart."""
    return "" if number is None else f"{number:,}"


def dollars(amount: float | None) -> str:
    """An amount of money; reports cost fractions of a cent."""
    return "" if amount is None else f"${amount:,.4f}"
