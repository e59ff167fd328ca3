"""Metrics, alerts and dashboard read only what the code writes.

Events and their fields are taken from the log calls in the source, so that a renamed field
fails here and not as a silent chart.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from google.genai import types

from dispatcher.sweep_report import SweepReport
from shared.domain.errors import ErrorCode
from shared.log import LogEvent, Severity
from tests.support.alert_rules import RULES
from tests.support.terraform_module import ROOT, local_values, source_files, unquoted

_STAGES = ("dispatcher", "executor", "shared")
#: The fields that the logger itself puts on every entry.
_ON_EVERY_ENTRY = {"severity", "event", "message", "time", "service", "env", "component"}
#: The fields that the logger writes when it refuses an entry.
_REJECTION = {"rejectedEvent", "path"}
#: Codes for which the orchestrator or the prompt's author is to blame, or nobody is.
_NOT_THE_WORKERS_FAULT = {
    ErrorCode.FLOW_RUN_NOT_FOUND,
    ErrorCode.FLOW_RUN_INVALID,
    ErrorCode.INVALID_STEP_INPUTS,
    ErrorCode.PROMPT_NOT_FOUND,
    ErrorCode.LLM_PROFILE_INVALID,
    ErrorCode.LLM_SAFETY_BLOCK,
    ErrorCode.ARTIFACT_CONFLICT,
    ErrorCode.COST_CEILING_EXCEEDED,
    ErrorCode.RUN_TOO_LARGE,
}
_EVENTS = re.compile(r'jsonPayload\.event=(?:"(\w+)"|\(([^)]*)\))')
_FIELD = re.compile(r"jsonPayload\.([A-Za-z.]+)")
_SEVERITY = re.compile(r"severity=(\w+)")


@dataclass(slots=True)
class Written:
    """What the code logs: fields and severities by event, and the loggers' bound fields."""

    fields: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    severities: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    bound: set[str] = field(default_factory=set)


@pytest.fixture(scope="module")
def written() -> Written:
    found = Written()
    for stage in _STAGES:
        for path in (ROOT / stage).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    _note(node, found)
    found.fields[LogEvent.SWEEP_FINISHED] |= set(SweepReport().as_json())
    found.fields[LogEvent.LOG_ENTRY_REJECTED] |= _REJECTION
    return found


def _note(call: ast.Call, found: Written) -> None:
    fields = set(_fields(call.keywords))
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    if name == "bind":
        found.bound |= fields
    match call.args:
        case [ast.Attribute(value=ast.Name(id="LogEvent"), attr=attr), *_]:
            event = LogEvent[attr]
            found.fields[event] |= fields
            found.severities[event].add(name.upper())


def _fields(keywords: list[ast.keyword], parent: str = "") -> Iterator[str]:
    for keyword in keywords:
        if keyword.arg is not None:
            yield from _paths(parent + keyword.arg, keyword.value)


def _paths(path: str, value: ast.expr) -> Iterator[str]:
    yield path
    if isinstance(value, ast.Dict):
        for key, item in zip(value.keys, value.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                yield from _paths(f"{path}.{key.value}", item)


def usage_fields() -> set[str]:
    """What the provider counts, as the SDK spells it on the wire."""
    declared = types.GenerateContentResponseUsageMetadata.model_fields.values()
    return {f"llm.usage.{info.alias}" for info in declared}


def metrics() -> Mapping[str, str]:
    """Each metric's filter and extractors, as one text."""
    specs = [*_specs("counters"), *_specs("distributions")]
    return {
        name: " ".join(
            _inner(str(spec.get(part, ""))) for part in ("filter", "labels", "value")
        )
        for name, spec in specs
    }


def _specs(name: str) -> list[tuple[str, Any]]:
    return list(local_values()[name].items())


def _inner(text: str) -> str:
    return str(unquoted(text)).replace('\\"', '"')


def events_of(text: str) -> set[str]:
    match = _EVENTS.search(text)
    assert match, f"no event in {text}"
    return {match[1]} if match[1] else set(re.findall(r"\w{3,}", match[2]))


@pytest.mark.parametrize("name", sorted(metrics()))
def test_a_metric_reads_events_and_fields_that_the_code_writes(
    name: str, written: Written
) -> None:
    text = metrics()[name]
    events = events_of(text)
    available = _ON_EVERY_ENTRY | written.bound | usage_fields()
    for event in events:
        available |= written.fields[event]

    assert events <= set(LogEvent)
    assert {event for event in events if not written.fields[event]} == set()
    assert set(_FIELD.findall(text)) - available == set()


@pytest.mark.parametrize("name", sorted(metrics()))
def test_a_metric_of_one_severity_reads_what_is_logged_with_it(
    name: str, written: Written
) -> None:
    text = metrics()[name]
    wanted = set(_SEVERITY.findall(text))

    assert wanted <= set(Severity)
    assert wanted <= {s for event in events_of(text) for s in written.severities[event]}


def test_nothing_else_in_the_module_reads_a_log_entry() -> None:
    readers = {path.name for path in source_files() if "jsonPayload" in path.read_text()}

    assert readers == {"metrics.tf"}


def test_alerts_and_dashboard_read_metrics_that_exist() -> None:
    text = "".join(path.read_text() for path in source_files())
    read = set(re.findall(r'local\.(?:series|sums)\["(\w+)"\]', text))
    alerted = re.findall(r"logging_googleapis_com:user_(\w+)\{", RULES.read_text())
    read |= {re.sub(r"_(sum|bucket|count)$", "", name) for name in alerted}

    assert read == set(metrics())


def test_the_objective_counts_every_code_that_is_the_workers_fault() -> None:
    """This fails for a new code until somebody decides whose fault it is."""
    counted = {unquoted(code) for code in local_values()["worker_faults"]}

    assert counted == {str(code) for code in set(ErrorCode) - _NOT_THE_WORKERS_FAULT}


def test_the_rate_limit_alert_reads_a_code_that_exists() -> None:
    codes = re.findall(r'code="([A-Z_]+)"', RULES.read_text())

    assert codes == ["RATE_LIMITED"]
    assert set(codes) <= set(ErrorCode)
