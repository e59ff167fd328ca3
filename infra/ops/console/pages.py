"""How pages are put together from views: the templates and their filters."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from infra.ops.cli.terminal import age, count, dollars, shortened
from infra.ops.console.guides import mending_path
from infra.ops.reports.sheet import TEMPLATES
from shared.domain.steps import StepStatus
from shared.domain.times import rfc3339

FOLDER = Path(__file__).parent
_CLASSES: Mapping[str, str] = {
    StepStatus.SUCCEEDED: "good",
    StepStatus.FAILED: "bad",
    StepStatus.RUNNING: "busy",
    StepStatus.READY: "warn",
    StepStatus.CANCELLED: "odd",
}
_OTHER_CLASS = "idle"


def templates() -> Environment:
    """The console's templates; whatever is put into them is escaped."""
    environment = Environment(
        loader=FileSystemLoader([FOLDER / "templates", TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "age": age,
        "clock": _clock,
        "code": _code,
        "dollars": dollars,
        "mending": mending_path,
        "number": count,
        "rfc3339": rfc3339,
        "segment": segment,
        "shorten": shortened,
        "status_class": lambda status: _CLASSES.get(status, _OTHER_CLASS),
    }
    return environment


def segment(text: str) -> str:
    """The text as one segment of a URL's path."""
    return quote(text, safe="")


def _clock(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def _code(text: str) -> Markup:
    """The text with what stands between backticks set as code."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(parts)
    )


def render(environment: Environment, name: str, values: Mapping[str, Any]) -> str:
    """One page."""
    return environment.get_template(name).render(**values)
