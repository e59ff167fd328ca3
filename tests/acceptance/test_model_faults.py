"""Every row of the fault table, through both stages and over real sockets to the provider."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.model_faults import ROWS, Row, Wait
from tests.model_faults_page import PAGE, faults_page
from tests.model_stage import Ended, drive

ACKNOWLEDGED, AGAIN = 204, 503


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
async def test_a_fault_of_the_model_ends_as_the_table_says(row: Row, tmp_path: Path) -> None:
    began = datetime.now(UTC)  # noqa: TID251 - the harness runs on this machine's time

    ended = await drive(tmp_path, row.rules, environ=row.environ)

    check(row, ended, began)


VERTEX = {"GEMINI_BACKEND": "vertex", "GEMINI_LOCATION": "europe-west4"}


@pytest.mark.parametrize(
    "row",
    [row for name, row in ROWS.items() if name.startswith(("A quota", "The provider ref"))],
    ids=lambda row: row.fault,
)
async def test_vertex_ends_a_step_as_the_developer_api_does(row: Row, tmp_path: Path) -> None:
    began = datetime.now(UTC)  # noqa: TID251 - the harness runs on this machine's time

    ended = await drive(tmp_path, row.rules, environ=VERTEX)

    check(row, ended, began)


def check(row: Row, ended: Ended, began: datetime) -> None:
    assert ended.calls.received.total() == row.report_calls + row.repair_calls
    assert purposes(ended) == Counter(report=row.report_calls, repair=row.repair_calls)
    assert ended.statuses == [AGAIN] * (row.deliveries - 1) + [ACKNOWLEDGED]
    assert (row.report_calls > 1) == row.retryable
    check_log(ended)
    check_wait(row, ended, began)
    if row.code is None:
        check_success(ended)
    else:
        check_failure(row, ended)
    assert (
        ended.step.get("outputs", {})["execution"].get("llm", {}).get("finishReason")
        == row.finish_reason
    )


def purposes(ended: Ended) -> Counter[str]:
    return Counter(call["purpose"] for call in calls(ended))


def calls(ended: Ended) -> list[Mapping[str, Any]]:
    return [call for attempt in ended.record["history"] for call in attempt.get("calls", [])]


def check_log(ended: Ended) -> None:
    """Each call that failed is in the log with its reason, also when the next one did not."""
    warned = [
        (entry["call"], entry["code"])
        for entry in ended.entries
        if (entry["event"], entry["severity"]) == ("llm_request_finished", "WARNING")
        and entry["message"] != "llm request finished"
    ]
    assert warned == [(call["number"], call["code"]) for call in calls(ended) if "code" in call]


def check_wait(row: Row, ended: Ended, began: datetime) -> None:
    ready_at = began + ended.skipped
    match row.wait:
        case Wait.NONE:
            assert ended.skipped < timedelta(minutes=1)
        case Wait.ONE_HOUR:
            assert timedelta(minutes=59) < ended.skipped < timedelta(minutes=61)
        case Wait.NEXT_DAY:
            assert timedelta(0) < ended.skipped <= timedelta(days=1)
            assert ready_at.hour in {7, 8}  # the harness takes a moment too
        case Wait.EACH_DAY:
            waits = row.deliveries - 1
            assert timedelta(days=waits - 1) < ended.skipped <= timedelta(days=waits)


def check_success(ended: Ended) -> None:
    step = ended.step
    assert step["status"] == ended.record["state"] == "SUCCEEDED"
    assert "error" not in step
    [name] = ended.objects
    assert step["outputs"]["gcs_uri"] == f"gs://local-artifacts/{name}"
    assert step["outputs"]["execution"]["artifact"]["bytes"] == len(ended.objects[name])
    assert step["finishedAt"] == step["outputs"]["execution"]["timing"]["finishedAt"]


def check_failure(row: Row, ended: Ended) -> None:
    step = ended.step
    assert step["status"] == ended.record["state"] == "FAILED"
    assert (step["error"]["code"], step["error"]["message"]) == (row.code, row.message)
    assert step["finishedAt"] == step["outputs"]["execution"]["timing"]["finishedAt"]
    # What a model said and could not be used is stored nowhere.
    assert "gcs_uri" not in step["outputs"]
    assert ended.objects == {}


def test_the_page_says_what_the_table_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == faults_page(), "run: make docs-generated"
