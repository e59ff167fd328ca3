"""The log: one JSON line per event, with gates that no caller can walk around.

Event names are a stable API for dashboards. The gates stand here and not at the callers: a
bad log call is replaced by `log_entry_rejected`, so that it can neither leak nor break a
step.
"""

import json
import math
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, TextIO

from shared.domain.times import rfc3339
from shared.ports import Clock

SERVICE = "worker_llm_client"
MAX_STRING_CHARS = 4_096
MAX_ARRAY_ITEMS = 200
MAX_DEPTH = 12
_INTEGER_BITS = 64
#: Never cut: the one field that shows how all steps of a run stood.
UNCUT_FIELD = "flowRunSteps"


class Severity(StrEnum):
    """As Cloud Logging spells it."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


_RANK = {severity: rank for rank, severity in enumerate(Severity)}


class LogEvent(StrEnum):
    """Every event that the worker logs."""

    CLOUD_EVENT_RECEIVED = "cloud_event_received"
    CLOUD_EVENT_PARSED = "cloud_event_parsed"
    CLOUD_EVENT_IGNORED = "cloud_event_ignored"
    CLOUD_EVENT_NOOP = "cloud_event_noop"
    CLOUD_EVENT_FINISHED = "cloud_event_finished"
    READY_STEP_SELECTED = "ready_step_selected"
    CLAIM_ATTEMPT = "claim_attempt"
    JOB_PUBLISHED = "job_published"
    JOB_RECEIVED = "job_received"
    JOB_NOOP = "job_noop"
    JOB_DEFERRED = "job_deferred"
    JOB_REJECTED = "job_rejected"
    LEASE_ACQUIRED = "lease_acquired"
    LEASE_LOST = "lease_lost"
    JOB_RECOVERED = "job_recovered"
    PROMPT_FETCH_STARTED = "prompt_fetch_started"
    PROMPT_FETCH_FINISHED = "prompt_fetch_finished"
    CONTEXT_RESOLVE_STARTED = "context_resolve_started"
    CONTEXT_RESOLVE_FINISHED = "context_resolve_finished"
    GCS_READ_STARTED = "gcs_read_started"
    GCS_READ_FINISHED = "gcs_read_finished"
    CONTEXT_JSON_VALIDATED = "context_json_validated"
    CONTEXT_JSON_INVALID = "context_json_invalid"
    CONTEXT_JSON_TOO_LARGE = "context_json_too_large"
    CHARTS_MANIFEST_PARSED = "charts_manifest_parsed"
    CHARTS_MANIFEST_NO_IMAGES = "charts_manifest_no_images"
    CHART_IMAGE_LOADED = "chart_image_loaded"
    CHART_IMAGE_TOO_LARGE = "chart_image_too_large"
    USER_INPUT_BUILT = "user_input_built"
    LLM_REQUEST_STARTED = "llm_request_started"
    LLM_REQUEST_FINISHED = "llm_request_finished"
    LLM_SERVED_OTHERWISE = "llm_served_otherwise"
    LLM_BACKGROUND_BEGUN = "llm_background_begun"
    LLM_BACKGROUND_AWAITED = "llm_background_awaited"
    LLM_BACKGROUND_FOUND = "llm_background_found"
    LLM_BACKGROUND_FETCH_STARTED = "llm_background_fetch_started"
    LLM_BACKGROUND_STOPPED = "llm_background_stopped"
    LLM_BACKGROUND_DELETED = "llm_background_deleted"
    STRUCTURED_OUTPUT_INVALID = "structured_output_invalid"
    STRUCTURED_OUTPUT_SCHEMA_INVALID = "structured_output_schema_invalid"
    STRUCTURED_OUTPUT_REPAIR_ATTEMPT_STARTED = "structured_output_repair_attempt_started"
    STRUCTURED_OUTPUT_REPAIR_ATTEMPT_FINISHED = "structured_output_repair_attempt_finished"
    GCS_WRITE_STARTED = "gcs_write_started"
    GCS_WRITE_FINISHED = "gcs_write_finished"
    TIME_BUDGET_EXCEEDED = "time_budget_exceeded"
    STEP_COMPLETED = "step_completed"
    STEP_FAILED = "step_failed"
    SWEEP_FINISHED = "sweep_finished"
    SWEEP_FAILED = "sweep_failed"
    JOBS_WAITING = "jobs_waiting"
    OPERATOR_ACT = "operator_act"
    HOOK_RECEIVED = "hook_received"
    HOOK_REJECTED = "hook_rejected"
    DEAD_LETTER_REPLAYED = "dead_letter_replayed"
    LOG_ENTRY_REJECTED = "log_entry_rejected"


_SECRET_PARTS = ("apikey", "token", "secret", "authorization", "credential")
_TEXT_KEYS = frozenset(
    {
        "systeminstruction",
        "userprompt",
        "prompttext",
        "candidatetext",
        "rawoutput",
        "outputtext",
    }
)
_SEPARATORS = re.compile(r"[^a-z0-9]")
#: Token counts are no secrets, but only here.
_USAGE_PATH = ("llm", "usage")


def offending_path(fields: Mapping[str, Any]) -> str | None:
    """The first path that may not be logged; None when all of it may."""
    return _offending_in_mapping(fields, ())


def _offending(value: object, path: tuple[str, ...]) -> str | None:
    if len(path) <= MAX_DEPTH:
        if _plain_value(value):
            return None
        if isinstance(value, Mapping):
            return _offending_in_mapping(value, path)
        if isinstance(value, list | tuple):
            return _offending_in_items(value, path)
    return _joined(path)


def _plain_value(value: object) -> bool:
    match value:
        case str():
            return len(value) <= MAX_STRING_CHARS
        case None | bool() | datetime():
            return True
        case int() | float():
            return _json_number(value)
        case _:
            return False


def _json_number(value: float) -> bool:
    """Whether JSON readers agree on the number: finite, and no integer beyond 64 bits."""
    if isinstance(value, int):
        return value.bit_length() < _INTEGER_BITS
    return math.isfinite(value)


def _offending_in_mapping(value: Mapping[Any, Any], path: tuple[str, ...]) -> str | None:
    for key, item in value.items():
        if not isinstance(key, str):
            return _joined((*path, type(key).__name__))
        here = (*path, key[:64])
        if _forbidden(key, path):
            return _joined(here)
        found = _offending(item, here)
        if found is not None:
            return found
    return None


def _offending_in_items(
    value: list[Any] | tuple[Any, ...], path: tuple[str, ...]
) -> str | None:
    if len(value) > MAX_ARRAY_ITEMS and path[:1] != (UNCUT_FIELD,):
        return _joined(path)
    for index, item in enumerate(value):
        found = _offending(item, (*path, str(index)))
        if found is not None:
            return found
    return None


def _forbidden(key: str, parent: tuple[str, ...]) -> bool:
    names_text, names_secret = _suspicion(key)
    return names_text or (names_secret and parent[:2] != _USAGE_PATH)


@lru_cache(maxsize=1024)
def _suspicion(key: str) -> tuple[bool, bool]:
    """Whether the key names a text, and whether a secret: entries repeat their keys."""
    plain = _SEPARATORS.sub("", key.lower())
    return plain in _TEXT_KEYS, any(part in plain for part in _SECRET_PARTS)


def _joined(path: tuple[str, ...]) -> str:
    return ".".join(path)[:256]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLogger:
    """Writes events of one component; `bind` adds fields that all its entries carry."""

    component: str
    env: str
    clock: Clock
    threshold: Severity = Severity.INFO
    stream: TextIO | None = None
    bound: Mapping[str, Any] = field(default_factory=dict)

    def bind(self, **fields: Any) -> "EventLogger":
        """A logger whose entries also carry these fields; None is unknown and left out."""
        known = {name: value for name, value in fields.items() if value is not None}
        return replace(self, bound={**self.bound, **known})

    def debug(self, event: LogEvent, message: str = "", /, **fields: Any) -> None:
        """Log what only a developer looks for."""
        self._emit(Severity.DEBUG, event, message, fields)

    def info(self, event: LogEvent, message: str = "", /, **fields: Any) -> None:
        """Log what happened."""
        self._emit(Severity.INFO, event, message, fields)

    def warning(self, event: LogEvent, message: str = "", /, **fields: Any) -> None:
        """Log what somebody should look at some day."""
        self._emit(Severity.WARNING, event, message, fields)

    def error(self, event: LogEvent, message: str = "", /, **fields: Any) -> None:
        """Log what somebody should look at."""
        self._emit(Severity.ERROR, event, message, fields)

    def _emit(
        self, severity: Severity, event: LogEvent, message: str, fields: Mapping[str, Any]
    ) -> None:
        if _RANK[severity] < _RANK[self.threshold]:
            return
        entry = {**self.bound, **fields}
        found = offending_path({**entry, "message": message})
        if found is None:
            self._write(severity, event, message, entry)
        else:
            rejected = {"rejectedEvent": str(event), "path": found}
            self._write(Severity.ERROR, LogEvent.LOG_ENTRY_REJECTED, "", rejected)

    def _write(
        self, severity: Severity, event: LogEvent, message: str, fields: Mapping[str, Any]
    ) -> None:
        own = {
            "severity": severity,
            "event": event,
            "message": message or event.replace("_", " "),
            "time": rfc3339(self.clock.now()),
            "service": SERVICE,
            "env": self.env,
            "component": self.component,
        }
        # Twice: these come first, and no field of a caller takes their place.
        line = json.dumps(
            {**own, **fields, **own}, ensure_ascii=True, separators=(",", ":"), default=_plain
        )
        # A full disk or a closed pipe costs the entry, and never the work that it tells of.
        with suppress(OSError, ValueError):
            # One write per entry: lines of concurrent steps never mix.
            stream = self.stream or _standard_output()
            stream.write(line + "\n")
            stream.flush()


def _standard_output() -> TextIO:
    """Standard output itself.

    Where LOG_EXECUTION_ID is set, as the platform does, functions-framework puts a stream of
    its own in front, which gives each line the span of the request in place of ours, and
    writes a line in two parts.
    """
    stream: Any = sys.stdout
    while type(stream).__module__ == "functions_framework.execution_id":
        stream = stream.stream
    output: TextIO = stream
    return output


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return rfc3339(value)
    return dict(value) if isinstance(value, Mapping) else type(value).__name__
