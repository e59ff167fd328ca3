"""The log's events, found where the code logs them."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from infra.docs.markdown import page, table
from infra.local.processes.bundle import REPOSITORY
from shared.log import MAX_ARRAY_ITEMS, MAX_STRING_CHARS, UNCUT_FIELD, LogEvent

_LEVELS = ("debug", "info", "warning", "error")
_STAGES = ("dispatcher", "executor")


@dataclass(slots=True)
class _Uses:
    components: set[str] = field(default_factory=set)
    severities: set[str] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)


def log_events_page() -> str:
    """`docs/reference/log-events.md`."""
    found = _found()
    return page(
        "Log events",
        "the calls of the logger in dispatcher/ and executor/",
        "One JSON line per event on standard output. Every entry has `severity`, `event`,"
        " `message`, `time`, `service`, `env` and `component`, and, when known, `eventId`,"
        " `messageId`, `deliveryAttempt`, `runId`, `stepId`, `flowKey`, `timeframe`, `symbol`,"
        " `attempt` and Cloud Logging's trace fields.",
        "The names are stable. The fields below are those of the event itself.",
        table(
            ["event", "component", "severity", "fields"],
            [_row(event, found[event.name]) for event in LogEvent],
        ),
        "## Gates",
        "Enforced by the logger, at every depth, whatever its callers do. An entry with a key"
        " that looks like a secret or like model text, a string of more than"
        f" {MAX_STRING_CHARS:,} characters, an array of more than {MAX_ARRAY_ITEMS} items"
        f" (except `{UNCUT_FIELD}`, which is never cut), or a value without a JSON form is not"
        " written. `log_entry_rejected` takes its place, with the event's name and the"
        " offending path, and never the value. Token counts below `llm.usage` are no secrets.",
    )


def _row(event: LogEvent, uses: _Uses) -> tuple[str, ...]:
    order = [level.upper() for level in _LEVELS if level in uses.severities]
    return (
        f"`{event}`",
        ", ".join(sorted(uses.components)),
        ", ".join(order),
        ", ".join(f"`{name}`" for name in sorted(uses.fields)),
    )


def _found() -> dict[str, _Uses]:
    found: dict[str, _Uses] = defaultdict(_Uses)
    for stage in _STAGES:
        for path in sorted((REPOSITORY / stage).rglob("*.py")):
            for name, level, fields in _events_in(path):
                found[name].components.add(stage)
                found[name].severities |= {level} if level else set()
                found[name].fields |= fields
    rejected = found[LogEvent.LOG_ENTRY_REJECTED.name]
    rejected.components |= set(_STAGES)
    rejected.severities.add("error")
    rejected.fields |= {"rejectedEvent", "path"}
    return found


def _events_in(path: Path) -> Iterator[tuple[str, str, set[str]]]:
    """Each event the module names: with level and fields where it is logged on the spot."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_event(node):
            yield node.attr, "", set()
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        event = node.args[0] if node.args else None
        if node.func.attr in _LEVELS and isinstance(event, ast.Attribute) and _is_event(event):
            yield event.attr, node.func.attr, {key.arg for key in node.keywords if key.arg}


def _is_event(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id == "LogEvent"
