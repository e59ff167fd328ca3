"""Reading Firestore events: what a decision needs is decoded, and the rest is left alone."""

from datetime import UTC, datetime
from typing import Any

import pytest

from dispatcher.change import DocumentChange, EventUnreadable, decode_change
from infra.local.cloud.cloud_events import Document, document_event

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
VERSION = 1_767_603_600_123_456_000


def event(old: dict[str, Any] | None, new: dict[str, Any] | None) -> bytes:
    def document(fields: dict[str, Any] | None, version: int) -> Document | None:
        if fields is None:
            return None
        return Document(fields=fields, create_time=1_000, update_time=version)

    return document_event(
        project="p",
        document_path="flow_runs/r",
        old=document(old, VERSION - 1_000),
        new=document(new, VERSION),
        event_id="e",
        time=NOW,
    ).body


def decoded(fields: dict[str, Any]) -> Any:
    change = decode_change(event(None, fields))
    assert change.new is not None
    return change.new.data


def test_the_version_is_the_update_time_that_the_event_carries() -> None:
    change = decode_change(event({"status": "PENDING"}, {"status": "RUNNING"}))

    assert change.old is not None
    assert change.new is not None
    assert (change.old.version, change.new.version) == (VERSION - 1_000, VERSION)
    assert (change.old.data, change.new.data) == ({"status": "PENDING"}, {"status": "RUNNING"})


def test_a_creation_has_no_old_document_and_a_deletion_no_new_one() -> None:
    assert decode_change(event(None, {})).old is None
    assert decode_change(event({}, None)).new is None


def test_only_what_decides_is_decoded() -> None:
    step = {
        "stepType": "LLM_REPORT",
        "status": "RUNNING",
        "timeframe": "1d",
        "dependsOn": ["a"],
    }
    run = {"runId": "r", "status": "RUNNING", "flowKey": "f_v1", "scope": {"symbol": "X"}}
    beside = {"inputs": {"large": "x" * 10_000}, "outputs": {"gcs_uri": "gs://b/n"}}

    steps = {"1d:s-é": {**step, **beside}, "next": {"status": "READY"}}

    data = decoded({**run, "progress": {}, "steps": steps})

    assert data == {**run, "steps": {"1d:s-é": step, "next": {"status": "READY"}}}


def test_of_a_run_without_a_ready_step_no_step_is_decoded() -> None:
    step = {"stepType": "LLM_REPORT", "status": "RUNNING", "inputs": {"large": "x" * 10_000}}

    change = decode_change(event(None, {"status": "RUNNING", "steps": {"a": step, "b": step}}))

    assert change.new is not None
    assert change.new.quiet
    assert change.new.data == {"status": "RUNNING", "steps": {"a": None, "b": None}}


@pytest.mark.parametrize(
    "step",
    [
        pytest.param({"stepType": "LLM_REPORT", "status": "READY"}, id="ready"),
        pytest.param({"stepType": "LLM_REPORT", "status": "ready"}, id="misspelled"),
        pytest.param({"stepType": "LLM_REPORT"}, id="no status"),
        pytest.param({"status": "RUNNING"}, id="no type"),
        pytest.param("RUNNING", id="no map"),
    ],
)
def test_a_step_that_is_ready_or_odd_has_the_run_decoded(step: Any) -> None:
    sound = {"stepType": "LLM_REPORT", "status": "RUNNING"}

    change = decode_change(event(None, {"status": "RUNNING", "steps": {"a": sound, "b": step}}))

    assert change.new is not None
    assert not change.new.quiet
    assert change.new.data["steps"] == {"a": sound, "b": step}


def test_the_inputs_of_a_ready_step_are_decoded_for_the_jobs_hints() -> None:
    inputs = {"llm": {"promptId": "p", "n": [1, 2.5, None, True, {"deep": "ü"}]}}

    data = decoded({"steps": {"s": {"status": "READY", "inputs": inputs}}})

    assert data["steps"]["s"]["inputs"] == inputs


@pytest.mark.parametrize("value", [None, 7, "x", [1], True, 2.5])
def test_fields_of_another_type_arrive_as_what_they_are(value: Any) -> None:
    assert decoded({"status": value, "steps": value}) == {"status": value, "steps": value}
    assert decoded({"steps": {"s": value}}) == {"steps": {"s": value}}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\xff\xff\xff", "no DocumentEventData"),
        (b"not protobuf", "no DocumentEventData"),
        (b'{"value": {}}', "no DocumentEventData"),
        (b"", "neither an old nor a new document"),
    ],
)
def test_what_is_no_event_is_refused_without_quoting_it(data: bytes, reason: str) -> None:
    with pytest.raises(EventUnreadable, match=reason):
        decode_change(data)


def test_a_document_of_a_mebibyte_is_decoded() -> None:
    steps = {f"s{n}": {"stepType": "OTHER", "note": "x" * 900} for n in range(1_100)}

    change: DocumentChange = decode_change(event(None, {"status": "RUNNING", "steps": steps}))

    assert change.new is not None
    assert len(change.new.data["steps"]) == 1_100
