"""The commit that ends a step."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from executor.contract.artifacts import GcsUri
from executor.jobs.outcome import Failed, StoredReport, Succeeded, finalize_forms
from executor.ports import ModelAnswer
from shared.domain.documents import DELETE, DocumentRef, Snapshot, Update, Version
from shared.domain.errors import InvalidStepInputs, RateLimited
from shared.domain.finalize import step_started_at
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.job_documents import job_ref
from shared.domain.jobs import JobRecord, JobState

RUN_ID, STEP_ID = RunId("20260105-090000_BTCUSDT_abc"), StepId("1d:report")
STARTED = datetime(2026, 1, 5, 9, tzinfo=UTC)
RUN = Snapshot(
    ref=DocumentRef("flow_runs", RUN_ID),
    version=Version(3),
    data={"steps": {STEP_ID: {"status": "RUNNING"}}},
)
NOW = STARTED + timedelta(seconds=2.5)
URI = GcsUri("bucket", f"{RUN_ID}/1d/{STEP_ID}.json")
JOB = (
    JobRecord(
        run_id=RUN_ID,
        step_id=STEP_ID,
        claim_id=ClaimId("c1"),
        event_id="e1",
        claimed_at=STARTED,
        state=JobState.QUEUED,
    )
    .take_lease(owner="o", now=STARTED, lease_for=timedelta(seconds=60))
    .book_llm_call()
)
USAGE = {"promptTokenCount": 1, "totalTokenCount": 3}
ANSWER = ModelAnswer(
    text="{}",
    finish_reason="STOP",
    block_reason=None,
    model_version="m-1",
    response_id="r-1",
    usage=USAGE,
)


def finalized(outcome: Succeeded | Failed, *, before: Snapshot = RUN) -> tuple[Update, Update]:
    (run, job), *_ = finalize_forms(
        outcome=outcome,
        run=before,
        job=JOB,
        job_version=Version(4),
        now=NOW,
        keep_for=timedelta(days=30),
    )
    assert isinstance(run, Update)
    assert isinstance(job, Update)
    return run, job


def at_step(write: Update) -> dict[str, Any]:
    """The changes below the step, by dotted path."""
    assert all(path[:2] == ("steps", STEP_ID) for path in write.changes)
    return {".".join(path[2:]): value for path, value in write.changes.items()}


TIMING = {
    "startedAt": "2026-01-05T09:00:00.000Z",
    "finishedAt": "2026-01-05T09:00:02.500Z",
    "durationMs": 2500,
}
LLM = {
    "finishReason": "STOP",
    "modelVersion": "m-1",
    "usageMetadata": USAGE,
    "requestId": "r-1",
    "attempts": {"total": 1},
}


def stored(sha256: str | None) -> StoredReport:
    return StoredReport(uri=URI, sha256=sha256, size_bytes=7)


def test_success_writes_the_contracts_fields_and_no_other() -> None:
    run, _ = finalized(Succeeded(report=stored("ab"), answer=ANSWER))

    assert (run.ref, run.guard) == (RUN.ref, RUN.version)
    assert at_step(run) == {
        "status": "SUCCEEDED",
        "finishedAt": TIMING["finishedAt"],
        "outputs.gcs_uri": str(URI),
        "outputs.execution.timing": TIMING,
        "outputs.execution.llm": LLM,
        "outputs.execution.artifact": {
            "contentType": "application/json",
            "sha256": "ab",
            "bytes": 7,
        },
    }


def test_a_reused_report_says_so_and_tells_nothing_of_a_call() -> None:
    run, _ = finalized(Succeeded(report=stored(None), answer=None))

    changes = at_step(run)
    assert changes["outputs.execution.reused"] is True
    assert "outputs.execution.llm" not in changes
    assert "sha256" not in changes["outputs.execution.artifact"]


@pytest.mark.parametrize("answer", [None, ANSWER])
def test_failure_writes_the_error_and_no_artifact(answer: ModelAnswer | None) -> None:
    error = InvalidStepInputs("inputs.ohlcvStepId: the run has no step x", details={"n": 1})

    run, _ = finalized(Failed(error=error, answer=answer))

    expected = {
        "status": "FAILED",
        "finishedAt": TIMING["finishedAt"],
        "error": {
            "code": "INVALID_STEP_INPUTS",
            "message": "inputs.ohlcvStepId: the run has no step x",
            "details": {"n": 1},
        },
        "outputs.execution.timing": TIMING,
    }
    assert at_step(run) == (
        {**expected, "outputs.execution.llm": LLM} if answer is not None else expected
    )


#: A step with what two former ends left: a success that found its report, and a failure.
ENDED_BEFORE = replace(
    RUN,
    data={
        "steps": {
            STEP_ID: {
                "status": "RUNNING",
                "error": {"code": "RATE_LIMITED", "message": "the provider's rate limit"},
                "outputs": {
                    "gcs_uri": str(URI),
                    "mine": "not the worker's",
                    "execution": {"reused": True, "llm": LLM, "artifact": {"bytes": 1}},
                },
            }
        }
    },
)


def test_a_success_leaves_no_error_of_a_former_claim() -> None:
    run, _ = finalized(Succeeded(report=stored("ab"), answer=ANSWER), before=ENDED_BEFORE)

    changes = at_step(run)
    assert changes["error"] is DELETE
    assert changes["outputs.execution.reused"] is DELETE
    assert changes["outputs.execution.llm"] == LLM
    assert changes["outputs.gcs_uri"] == str(URI)


def test_a_failure_leaves_no_report_of_a_former_claim() -> None:
    run, _ = finalized(Failed(error=InvalidStepInputs("no candles")), before=ENDED_BEFORE)

    gone = {name for name, value in at_step(run).items() if value is DELETE}
    assert gone == {
        "outputs.gcs_uri",
        "outputs.execution.llm",
        "outputs.execution.reused",
        "outputs.execution.artifact",
    }


def test_the_job_is_closed_in_the_same_commit_under_its_own_guard() -> None:
    _, job = finalized(Failed(error=RateLimited("the provider answered 429")))

    assert (job.ref, job.guard) == (job_ref(RUN_ID, STEP_ID), Version(4))
    assert job.changes["state",] == "FAILED"
    assert job.changes["lease",] is DELETE
    assert job.changes["wakeAt",] is DELETE
    assert job.changes["expireAt",] == NOW + timedelta(days=30)
    assert job.changes["lastError",]["code"] == "RATE_LIMITED"


@pytest.mark.parametrize(
    ("timing", "expected"),
    [
        ({"startedAt": "2026-01-05T08:59:00Z"}, datetime(2026, 1, 5, 8, 59, tzinfo=UTC)),
        (
            {"startedAt": datetime(2026, 1, 5, 8, tzinfo=UTC)},
            datetime(2026, 1, 5, 8, tzinfo=UTC),
        ),
        ({"startedAt": "soon"}, STARTED),
        ({}, STARTED),
        ("text", STARTED),
        (None, STARTED),
    ],
)
def test_a_step_started_at_its_claim(timing: Any, expected: datetime) -> None:
    run = {"steps": {STEP_ID: {"outputs": {"execution": {"timing": timing}}}}}

    assert step_started_at(run, JOB) == expected
