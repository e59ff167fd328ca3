"""Documents as an operator sees them, including those that the worker would refuse."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.ops.runs.diagnosis import Level
from infra.ops.runs.view import run_view

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
RUN_ID = "20260105-090000_BTCUSD_demo"


def step(status: str = "SUCCEEDED", **fields: Any) -> dict[str, Any]:
    return {"stepType": "LLM_REPORT", "status": status, "timeframe": "1d", **fields}


def run(**steps: dict[str, Any]) -> dict[str, Any]:
    return {"status": "RUNNING", "updatedAt": "2026-01-05T08:59:00Z", "steps": steps}


def test_steps_come_behind_what_they_depend_on() -> None:
    view = run_view(
        RUN_ID, run(a=step(dependsOn=["b"]), b=step(dependsOn=["c"]), c=step()), {}, NOW
    )

    assert [step.step_id for step in view.steps] == ["c", "b", "a"]


def test_a_circle_of_dependencies_is_shown_all_the_same() -> None:
    view = run_view(RUN_ID, run(a=step(dependsOn=["b"]), b=step(dependsOn=["a"])), {}, NOW)

    assert [step.step_id for step in view.steps] == ["a", "b"]


CALL_UNDER_WAY = {
    "number": 2,
    "purpose": "report",
    "startedAt": NOW - timedelta(seconds=4),
    "cutOffAt": NOW + timedelta(seconds=75),
    "modelName": "gemini-x",
    "serviceTier": "flex",
    "costUsd": 0.0042,
}


def test_attempts_and_calls_of_the_job_record_are_shown_with_their_times() -> None:
    job = {
        "state": "RUNNING",
        "attempt": 2,
        "llmCalls": 2,
        "lease": {"owner": "me", "expiresAt": NOW + timedelta(seconds=40)},
        "history": [
            {
                "number": 1,
                "startedAt": NOW - timedelta(seconds=30),
                "endedAt": NOW - timedelta(seconds=10),
                "code": "RATE_LIMITED",
                "calls": [{"number": 1, "purpose": "report", "code": "RATE_LIMITED"}],
            },
            {
                "number": 2,
                "startedAt": NOW - timedelta(seconds=5),
                "calls": [CALL_UNDER_WAY],
            },
        ],
    }
    [shown] = run_view(RUN_ID, run(a=step("RUNNING")), {"a": job}, NOW).steps

    assert shown.job is not None
    first, second = shown.job.as_json()["attempts"]
    assert (first["code"], first["endedAt"]) == ("RATE_LIMITED", "2026-01-05T08:59:50.000Z")
    assert [call["code"] for call in first["calls"]] == ["RATE_LIMITED"]
    assert second["endedAt"] is None
    [asking] = second["calls"]
    assert (asking["tier"], asking["costUsd"]) == ("flex", 0.0042)
    assert asking["cutOffAt"] == "2026-01-05T09:01:15.000Z"
    assert shown.finding.reason == (
        "Attempt 2 is at work. Asking gemini-x since 08:59:56 UTC, cut off at 09:01:15 UTC."
    )


@pytest.mark.parametrize(
    ("asked", "served", "words"),
    [
        (None, None, ""),
        (None, "standard", "standard tier"),
        (None, "ON_DEMAND_PRIORITY", "standard asked, priority served"),
        ("flex", None, "flex asked"),
        ("flex", "flex", "flex tier"),
        ("flex", "ON_DEMAND_FLEX", "flex tier"),
        ("priority", "standard", "priority asked, standard served"),
        ("flex", "warp", "flex asked, warp served"),
        ("warp", None, ""),
    ],
)
def test_a_call_names_the_tier_that_was_asked_and_the_one_that_served(
    asked: str | None, served: str | None, words: str
) -> None:
    call = {**CALL_UNDER_WAY, "askedTier": asked, "serviceTier": served}
    job = {"state": "RUNNING", "history": [{"number": 1, "calls": [call]}]}
    [shown] = run_view(RUN_ID, run(a=step("RUNNING")), {"a": job}, NOW).steps

    assert shown.job is not None
    [[view]] = [attempt.calls for attempt in shown.job.attempts]
    assert view.tier_words == words


def test_the_worst_finding_of_a_run_is_the_one_to_look_at_first() -> None:
    view = run_view(
        RUN_ID,
        run(
            a=step("READY", dependsOn=["b"]),
            b=step("FAILED", error={"code": "RATE_LIMITED", "message": "429"}),
            c=step("RUNNING"),
        ),
        {},
        NOW,
    )

    assert view.worst is not None
    assert view.worst.level is Level.FAILED
    assert view.summary_json()["stepCounts"] == {"READY": 1, "RUNNING": 1, "FAILED": 1}


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_NAMES = ("stepType", "status", "dependsOn", "inputs", "outputs", "error", "createdAt")
_STEPS = st.dictionaries(
    st.sampled_from("abc"), st.fixed_dictionaries(dict.fromkeys(_NAMES, _values)) | _values
)
_JOB_NAMES = ("state", "attempt", "lease", "notBefore", "history", "lastError")


@given(
    document=st.fixed_dictionaries({"status": _values, "steps": _STEPS | _values}),
    job=st.fixed_dictionaries(dict.fromkeys(_JOB_NAMES, _values)) | _values,
)
def test_no_document_is_too_broken_to_be_shown(document: dict[str, Any], job: Any) -> None:
    jobs = {"a": job} if isinstance(job, dict) else {}

    view = run_view(RUN_ID, document, jobs, NOW)

    assert view.as_json()["runId"] == RUN_ID
    steps = document["steps"]
    assert len(view.steps) == (len(steps) if isinstance(steps, dict) else 0)
