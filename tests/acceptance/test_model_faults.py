"""Every row of the fault table, through both stages and over real sockets to the provider."""

import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.model_stage import Ended, drive, seeds
from tests.tables.model_faults import ROWS, Row, Wait
from tests.tables.model_faults_page import PAGE, faults_page

ACKNOWLEDGED, AGAIN = 204, 503


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
async def test_a_fault_of_the_model_ends_as_the_table_says(row: Row, tmp_path: Path) -> None:
    began = datetime.now(UTC)  # noqa: TID251 - the harness runs on this machine's time

    ended = await drive(tmp_path, row.rules, seeded=seeds(**row.profile), environ=row.environ)

    check(row, ended, began)


VERTEX = {"GEMINI_BACKEND": "vertex", "GEMINI_LOCATION": "europe-west4"}


@pytest.mark.parametrize(
    "row",
    [row for name, row in ROWS.items() if name.startswith(("A quota", "The provider ref"))],
    ids=lambda row: row.fault,
)
async def test_vertex_ends_a_step_as_the_developer_api_does(row: Row, tmp_path: Path) -> None:
    began = datetime.now(UTC)  # noqa: TID251 - the harness runs on this machine's time

    ended = await drive(tmp_path, row.rules, environ={**row.environ, **VERTEX})

    check(row, ended, began)


def check(row: Row, ended: Ended, began: datetime) -> None:
    counted = Counter(report=row.report_calls - row.refused, repair=row.repair_calls)
    assert purposes(ended) == +counted
    if row.wait is Wait.PATIENCE:
        # The pace decides how often the provider is asked for room.
        assert ended.calls.received.total() > counted.total()
        assert set(ended.statuses) == {ACKNOWLEDGED}
    else:
        assert ended.calls.received.total() == row.report_calls + row.repair_calls
        between = ACKNOWLEDGED if row.refused else AGAIN
        assert ended.statuses == [between] * (row.deliveries - 1) + [ACKNOWLEDGED]
        assert (row.report_calls > 1) == row.retryable
    check_log(ended)
    check_wait(row, ended, began)
    assert may_be_billed(ended) == row.billed
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
    return [
        call for attempt in ended.record.get("history", ()) for call in attempt.get("calls", [])
    ]


def may_be_billed(ended: Ended) -> int:
    """The number of calls that were answered, took tokens, or ended in an unknown way."""
    return sum(
        "code" not in call or "usage" in call or bool(call.get("maybeBilled"))
        for call in calls(ended)
    )


def check_log(ended: Ended) -> None:
    """Each failed call is in the log with its reason, even when the next call did not fail."""
    warned = [
        (entry["call"], entry["code"])
        for entry in ended.entries
        if (entry["event"], entry["severity"]) == ("llm_request_finished", "WARNING")
        and entry["message"] != "llm request finished"
        and not entry.get("refused")
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
        case Wait.PATIENCE:
            assert timedelta(seconds=50) < ended.skipped < timedelta(minutes=2)


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
    code, message = step["error"]["code"], step["error"]["message"]
    if row.wait is Wait.PATIENCE:
        assert re.match(r"no room at the provider for \d+ s: ", message)
        message = message.partition(" s: ")[2]
    assert (code, message) == (row.code, row.message)
    assert step["finishedAt"] == step["outputs"]["execution"]["timing"]["finishedAt"]
    # What a model said and could not be used is stored nowhere.
    assert "gcs_uri" not in step["outputs"]
    assert ended.objects == {}


def test_the_page_says_what_the_table_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == faults_page(), "run: make docs-generated"
