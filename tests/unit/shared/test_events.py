"""The log and its gates: nothing forbidden is logged, and nothing breaks because of it."""

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pytest

from shared.log import (
    MAX_ARRAY_ITEMS,
    MAX_DEPTH,
    MAX_STRING_CHARS,
    EventLogger,
    LogEvent,
    Severity,
)

CANARY = "canary-5d1e"
SECRET_KEYS = (
    "apiKey",
    "api_key",
    "API-KEY",
    "token",
    "accessToken",
    "secret",
    "client_secret",
    "authorization",
    "Authorization",
    "credentials",
    "x-goog-api-key",
)
TEXT_KEYS = (
    "systemInstruction",
    "system_instruction",
    "userPrompt",
    "promptText",
    "candidateText",
    "rawOutput",
    "outputText",
)
#: Where a key can stand: on top, in a map, in a list, in a list of maps of maps.
PLACES: dict[str, Callable[[str, Any], dict[str, Any]]] = {
    "at the top": lambda key, value: {key: value},
    "in a map": lambda key, value: {"outer": {key: value}},
    "in a list": lambda key, value: {"items": [{"fine": 1}, {key: value}]},
    "deep down": lambda key, value: {"a": {"b": [{"c": ({"d": {key: value}},)}]}},
}


class _Nine:
    def now(self) -> datetime:
        return datetime(2026, 1, 5, 9, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0


def logged(*, bound: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    stream = io.StringIO()
    log = EventLogger(component="executor", env="test", clock=_Nine(), stream=stream)
    log.bind(**(bound or {})).info(LogEvent.JOB_RECEIVED, "a message", **fields)
    [line] = stream.getvalue().splitlines()
    entry: dict[str, Any] = json.loads(line)
    return entry


def test_an_entry_has_every_field_of_the_contract() -> None:
    assert logged(bound={"runId": "r", "stepId": None}, attempt=2) == {
        "severity": "INFO",
        "event": "job_received",
        "message": "a message",
        "time": "2026-01-05T09:00:00.000Z",
        "service": "worker_llm_client",
        "env": "test",
        "component": "executor",
        "runId": "r",
        "attempt": 2,
    }


@pytest.mark.parametrize("key", [*SECRET_KEYS, *TEXT_KEYS])
@pytest.mark.parametrize("place", PLACES)
def test_a_forbidden_key_is_refused_wherever_it_stands(key: str, place: str) -> None:
    entry = logged(**PLACES[place](key, CANARY))

    assert entry["event"] == "log_entry_rejected"
    assert entry["severity"] == "ERROR"
    assert entry["rejectedEvent"] == "job_received"
    assert entry["path"].endswith(key)
    assert CANARY not in json.dumps(entry)


@pytest.mark.parametrize("key", SECRET_KEYS)
def test_a_bound_field_is_no_way_around(key: str) -> None:
    entry = logged(bound={key: CANARY})

    assert entry["event"] == "log_entry_rejected"
    assert CANARY not in json.dumps(entry)


def test_token_counts_are_no_secrets_below_llm_usage_and_only_there() -> None:
    usage = {"totalTokenCount": 3, "details": [{"modality": "TEXT", "tokenCount": 1}]}

    assert logged(llm={"usage": usage})["llm"]["usage"] == usage
    for fields in ({"usage": usage}, {"llm": usage}, {"x": {"llm": {"usage": usage}}}):
        assert logged(**fields)["event"] == "log_entry_rejected"


@pytest.mark.parametrize("place", PLACES)
def test_a_string_may_have_the_longest_length_and_no_character_more(place: str) -> None:
    longest = "x" * MAX_STRING_CHARS

    assert logged(**PLACES[place]("text", longest))["event"] == "job_received"
    refused = logged(**PLACES[place]("text", longest + CANARY))
    assert refused["event"] == "log_entry_rejected"
    assert CANARY not in json.dumps(refused)


def test_a_long_message_is_refused_too() -> None:
    stream = io.StringIO()
    log = EventLogger(component="c", env="e", clock=_Nine(), stream=stream)

    log.error(LogEvent.STEP_FAILED, CANARY * MAX_STRING_CHARS)

    assert json.loads(stream.getvalue())["path"] == "message"
    assert CANARY not in stream.getvalue()


@pytest.mark.parametrize("place", PLACES)
def test_an_array_may_have_the_most_items_and_not_one_more(place: str) -> None:
    most = [0] * MAX_ARRAY_ITEMS

    assert logged(**PLACES[place]("list", most))["event"] == "job_received"
    assert logged(**PLACES[place]("list", [*most, 0]))["event"] == "log_entry_rejected"


def test_the_steps_of_a_run_are_never_cut() -> None:
    steps = [{"id": f"s{n}", "dependsOn": []} for n in range(MAX_ARRAY_ITEMS * 5)]

    assert logged(flowRunSteps=steps)["flowRunSteps"] == steps
    many = [{"id": "last", "dependsOn": [step["id"] for step in steps]}]
    assert logged(flowRunSteps=many)["flowRunSteps"] == many
    assert logged(other={"flowRunSteps": steps})["event"] == "log_entry_rejected"


@pytest.mark.parametrize("key", [*SECRET_KEYS, *TEXT_KEYS])
def test_the_steps_of_a_run_are_gated_all_the_same(key: str) -> None:
    entry = logged(flowRunSteps=[{"id": "s", key: CANARY}])

    assert entry["event"] == "log_entry_rejected"
    assert CANARY not in json.dumps(entry)


class _Explosive:
    def __str__(self) -> str:
        raise RuntimeError(CANARY)

    __repr__ = __str__


def test_a_value_that_is_no_json_is_refused_without_being_looked_at() -> None:
    for value in (_Explosive(), b"bytes", {1, 2}, ValueError(CANARY)):
        entry = logged(value=value)

        assert (entry["event"], entry["path"]) == ("log_entry_rejected", "value")
        assert CANARY not in json.dumps(entry)


@pytest.mark.parametrize("key", [7, None, (1,), _Explosive()], ids=range(4))
def test_a_key_that_is_no_string_is_refused(key: object) -> None:
    assert logged(map={key: "x"})["event"] == "log_entry_rejected"


@pytest.mark.parametrize(
    "value", [float("nan"), float("-inf"), 2**64, -(10**5000)], ids=range(4)
)
def test_a_number_without_a_json_form_is_refused(value: float) -> None:
    assert logged(value=[value])["path"] == "value.0"


def test_a_mapping_of_another_type_is_logged_as_what_it_holds() -> None:
    assert logged(map=MappingProxyType({"a": 1}))["map"] == {"a": 1}


def test_a_value_without_end_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    nested: Any = 0
    for _ in range(MAX_DEPTH + 1):
        nested = {"d": nested}

    assert logged(endless=endless)["event"] == "log_entry_rejected"
    assert logged(nested=nested)["event"] == "log_entry_rejected"


@pytest.mark.parametrize("value", [1e300, 2**63, "\ud800", "\x00", "\u2028"])
def test_every_entry_is_one_line_of_strict_json(value: Any) -> None:
    stream = io.StringIO()
    log = EventLogger(component="c", env="e", clock=_Nine(), stream=stream)

    log.info(LogEvent.JOB_RECEIVED, value=value)

    [line] = stream.getvalue().splitlines()
    assert line.isascii()
    json.loads(line, parse_constant=pytest.fail)


def test_times_are_written_as_the_contract_writes_them() -> None:
    assert logged(notBefore=_Nine().now())["notBefore"] == "2026-01-05T09:00:00.000Z"


def test_no_field_of_a_caller_takes_the_place_of_the_loggers_own() -> None:
    fields: dict[str, Any] = {
        "event": "step_completed",
        "severity": "DEBUG",
        "component": "x",
        "time": "never",
    }

    entry = logged(**fields)

    assert (entry["event"], entry["severity"]) == ("job_received", "INFO")
    assert (entry["component"], entry["time"]) == ("executor", "2026-01-05T09:00:00.000Z")


@pytest.mark.parametrize("threshold", list(Severity))
def test_what_is_below_the_threshold_is_not_written(threshold: Severity) -> None:
    stream = io.StringIO()
    log = EventLogger(component="c", env="e", clock=_Nine(), stream=stream, threshold=threshold)

    for write in (log.debug, log.info, log.warning, log.error):
        write(LogEvent.JOB_RECEIVED)

    written = [json.loads(line)["severity"] for line in stream.getvalue().splitlines()]
    order = list(Severity)
    assert written == order[order.index(threshold) :]


@pytest.mark.parametrize(
    "trouble",
    [OSError(28, "No space left on device"), BrokenPipeError(), ValueError("closed file")],
    ids=["full disk", "nobody reads", "closed"],
)
@pytest.mark.parametrize("part", ["write", "flush"])
def test_a_line_that_cannot_be_written_costs_the_line_and_nothing_else(
    trouble: Exception, part: str
) -> None:
    class Troubled(io.StringIO):
        def write(self, text: str, /) -> int:
            if part == "write":
                raise trouble
            return super().write(text)

        def flush(self) -> None:
            raise trouble

    log = EventLogger(
        component="executor",
        env="test",
        clock=_Nine(),
        threshold=Severity.DEBUG,
        stream=Troubled(),
    )

    log.error(LogEvent.STEP_FAILED, "an entry")
    log.bind(runId="r").info(LogEvent.STEP_COMPLETED)
