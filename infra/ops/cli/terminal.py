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

from shared.domain.steps import StepStatus

#: What could move the cursor, change colors or retitle the window; tabs and line ends stay.
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_C1_CONTROLS = re.compile(r"[\x7f-\x9f]")
_STYLES: Mapping[str, str] = {
    StepStatus.SUCCEEDED: "green",
    StepStatus.FAILED: "bold red",
    StepStatus.RUNNING: "bold cyan",
    StepStatus.READY: "yellow",
    StepStatus.PENDING: "dim",
    StepStatus.SKIPPED: "dim",
    StepStatus.CANCELLED: "magenta",
}
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def harmless(text: str) -> str:
    """The text without what a terminal would obey: documents are written by others."""
    return _CONTROLS.sub("�", text)


def say(text: str, *, err: bool = False) -> None:
    """Print text that a terminal cannot obey: the one way out of every command.

    Tables go through the console of `terminal`, whose cells are made harmless one by one.
    """
    typer.echo(harmless(text), err=err)


def json_text(value: Any, *, indent: int | None = None) -> str:
    """The value as JSON, without characters that a terminal would obey.

    The standard library escapes the controls of ASCII, and leaves those above it as they are.
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent, default=str)
    return _C1_CONTROLS.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def print_json(value: Mapping[str, Any]) -> None:
    """Print one JSON object, indented where a person looks."""
    say(json_text(value, indent=2 if sys.stdout.isatty() else None))


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
    """A column that cuts no id: ids of runs differ at their ends, and are copied from here."""
    longest = max(map(len, ids), default=0)
    # Where there is room, the other columns give way; where there is none, an id is folded.
    return Column(header, overflow="fold", no_wrap=2 * longest <= console.width)


def shortened(text: str, most_chars: int) -> str:
    """The text with its middle left out where it is too long."""
    if len(text) <= most_chars:
        return text
    half = (most_chars - 1) // 2
    return f"{text[: most_chars - 1 - half]}…{text[-half:]}"


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
