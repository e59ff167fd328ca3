"""The one commit that ends a step, field by field."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.domain.documents import DELETE, DocumentRef, FieldPath, Snapshot, Update, Version
from shared.domain.errors import InvalidStepInputs, StepError
from shared.domain.finalize import (
    ending_writes,
    exhausted,
    is_at_work,
    last_error,
    patience_over,
    smaller_endings,
    smallest_ending,
    step_started_at,
    step_status,
)
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.job_documents import job_ref
from shared.domain.jobs import JobRecord, JobState, LastError
from shared.domain.waiting import Waiting

RUN_ID, STEP_ID = RunId("20260105-090000_BTCUSD_abc"), StepId("1d:report")
RUN = DocumentRef("flow_runs", RUN_ID)
STARTED = datetime(2026, 1, 5, 9, tzinfo=UTC)
NOW = STARTED + timedelta(seconds=90, milliseconds=250)
CLAIMED = STARTED - timedelta(seconds=1)
ERROR = InvalidStepInputs("no candles", details={"field": "ohlcv"})
JOB = JobRecord(
    run_id=RUN_ID,
    step_id=STEP_ID,
    claim_id=ClaimId("c1"),
    event_id="e1",
    claimed_at=CLAIMED,
    state=JobState.QUEUED,
).take_lease(owner="us", now=CLAIMED, lease_for=timedelta(minutes=5))
TIMING = {"startedAt": "2026-01-05T09:00:00.000Z"}
#: What a former claim left on the step, as the contract names it.
FORMER = {
    "error": {"code": "RATE_LIMITED"},
    "outputs": {
        "gcs_uri": "gs://b/old.json",
        "theirs": "kept",
        "execution": {
            "llm": {"model": "old"},
            "reused": True,
            "artifact": {"sha256": "old"},
            "accounting": {"totalTokens": 7},
            "timing": TIMING,
        },
    },
}


def run(**step: Any) -> Snapshot:
    fields = {"stepType": "LLM_REPORT", "status": "RUNNING", **step}
    data = {"status": "RUNNING", "steps": {STEP_ID: fields}}
    return Snapshot(ref=RUN, version=Version(3), data=data)


def ended(
    error: StepError | None = None,
    *,
    step: dict[str, Any] | None = None,
    outputs: dict[FieldPath, Any] | None = None,
) -> tuple[dict[FieldPath, Any], dict[FieldPath, Any]]:
    """The changes of the step, by their paths below it, and those of the job."""
    of_run, of_job = ending_writes(
        error=error,
        run=run(**(step or {})),
        job=JOB,
        job_version=Version(5),
        now=NOW,
        keep_for=timedelta(days=30),
        outputs=outputs,
    )
    assert isinstance(of_run, Update)
    assert isinstance(of_job, Update)
    assert (of_run.ref, of_run.guard) == (RUN, Version(3))
    assert (of_job.ref, of_job.guard) == (job_ref(RUN_ID, STEP_ID), Version(5))
    assert {path[:2] for path in of_run.changes} == {("steps", STEP_ID)}
    return {path[2:]: value for path, value in of_run.changes.items()}, dict(of_job.changes)


def test_a_step_that_succeeded_has_its_outputs_and_its_times() -> None:
    step, job = ended(
        step={"outputs": {"execution": {"timing": TIMING}}},
        outputs={("outputs", "gcs_uri"): "gs://b/new.json"},
    )

    assert step == {
        ("status",): "SUCCEEDED",
        ("finishedAt",): "2026-01-05T09:01:30.250Z",
        ("outputs", "gcs_uri"): "gs://b/new.json",
        ("outputs", "execution", "timing"): {
            "startedAt": "2026-01-05T09:00:00.000Z",
            "finishedAt": "2026-01-05T09:01:30.250Z",
            "durationMs": 90_250,
        },
    }
    assert job["state",] == "SUCCEEDED"
    assert job["expireAt",] == NOW + timedelta(days=30)
    assert job["lastError",] is DELETE


def test_a_step_that_failed_has_its_error_and_so_has_its_job() -> None:
    step, job = ended(ERROR)

    assert step["status",] == "FAILED"
    assert step["error",] == ERROR.as_document()
    assert job["state",] == "FAILED"
    assert job["lastError",] == {"code": "INVALID_STEP_INPUTS", "message": "no candles"}


def test_nothing_of_a_former_claim_is_left_beside_a_failure() -> None:
    step, _ = ended(ERROR, step=FORMER)

    assert {path for path, value in step.items() if value is DELETE} == {
        ("outputs", "gcs_uri"),
        ("outputs", "execution", "llm"),
        ("outputs", "execution", "reused"),
        ("outputs", "execution", "artifact"),
        ("outputs", "execution", "accounting"),
    }
    assert step["error",] == ERROR.as_document()


def test_nothing_of_a_former_claim_is_left_beside_a_success_but_what_it_writes_anew() -> None:
    new: dict[FieldPath, Any] = {
        ("outputs", "gcs_uri"): "gs://b/new.json",
        ("outputs", "execution", "accounting"): {"totalTokens": 9},
    }

    step, _ = ended(step=FORMER, outputs=new)

    assert step.items() >= new.items()
    assert {path for path, value in step.items() if value is DELETE} == {
        ("error",),
        ("outputs", "execution", "llm"),
        ("outputs", "execution", "reused"),
        ("outputs", "execution", "artifact"),
    }


@pytest.mark.parametrize("outputs", [None, 7, {"execution": []}])
def test_nothing_is_deleted_where_nothing_is(outputs: Any) -> None:
    step, _ = ended(ERROR, step={"outputs": outputs})

    assert DELETE not in step.values()


@pytest.mark.parametrize(
    ("timing", "expected"),
    [
        (TIMING, STARTED),
        ({"startedAt": STARTED}, STARTED),
        ({"startedAt": "yesterday"}, CLAIMED),
        ({}, CLAIMED),
        ([], CLAIMED),
    ],
)
def test_a_step_started_when_its_claim_says_and_else_when_it_was_claimed(
    timing: Any, expected: datetime
) -> None:
    document = run(outputs={"execution": {"timing": timing}}).data

    assert step_started_at(document, JOB) == expected


def test_attempts_that_began_and_did_not_end_are_an_error_that_names_the_last_known_one() -> (
    None
):
    failed = JOB.release(
        now=NOW, not_before=NOW, error=LastError(code="RATE_LIMITED", message="429")
    )

    assert exhausted(failed).message == "1 attempts began and none ended"
    assert exhausted(failed).details == {"lastCode": "RATE_LIMITED", "lastMessage": "429"}
    assert exhausted(JOB).message == "1 attempts began and none ended"
    assert not exhausted(JOB).details


def test_the_record_keeps_code_and_message_of_an_error() -> None:
    assert last_error(ERROR) == LastError(code="INVALID_STEP_INPUTS", message="no candles")


@pytest.mark.parametrize(
    ("step", "at_work"),
    [
        ({"status": "RUNNING", "stepType": "LLM_REPORT"}, True),
        ({"status": "RUNNING"}, True),
        ({"status": "RUNNING", "stepType": "CHART_EXPORT"}, False),
        ({"status": "READY", "stepType": "LLM_REPORT"}, False),
        ({"stepType": "LLM_REPORT"}, False),
        (7, False),
    ],
    ids=str,
)
def test_a_step_is_worked_on_while_it_is_running_and_ours(step: Any, *, at_work: bool) -> None:
    document = {"steps": {STEP_ID: step}}

    assert is_at_work(document, STEP_ID) is at_work


def test_the_status_of_a_step_is_whatever_the_document_holds() -> None:
    assert step_status(run(status=7).data, STEP_ID) == 7
    assert step_status({"steps": {}}, STEP_ID) is None


def smaller(
    error: StepError | None, step: dict[str, Any], outputs: dict[FieldPath, Any] | None = None
) -> tuple[dict[FieldPath, Any], dict[FieldPath, Any], dict[FieldPath, Any]]:
    """The step's changes and the job's in the smaller ending, and the job's in the last one."""
    (of_run, of_job), (job_alone,) = smaller_endings(
        error=error,
        run=run(**step),
        job=JOB,
        job_version=Version(5),
        now=NOW,
        keep_for=timedelta(days=30),
        outputs=outputs,
    )
    assert isinstance(of_run, Update)
    assert isinstance(of_job, Update)
    assert isinstance(job_alone, Update)
    assert (of_run.ref, of_run.guard) == (RUN, Version(3))
    assert (of_job.guard, job_alone.guard) == (Version(5), Version(5))
    assert {path[:2] for path in of_run.changes} == {("steps", STEP_ID)}
    changes = {path[2:]: value for path, value in of_run.changes.items()}
    return changes, dict(of_job.changes), dict(job_alone.changes)


def test_where_the_run_has_no_room_a_failure_is_its_code_alone() -> None:
    step, job, alone = smaller(ERROR, FORMER)

    assert step == {
        ("status",): "FAILED",
        ("error",): {"code": "INVALID_STEP_INPUTS", "message": ""},
        ("outputs", "gcs_uri"): DELETE,
        ("outputs", "execution"): DELETE,
    }
    assert job["lastError",] == {"code": "INVALID_STEP_INPUTS", "message": "no candles"}
    assert alone["state",] == "FAILED"
    assert alone["lastError",] == {
        "code": "RUN_TOO_LARGE",
        "message": "the run document has no room for the outcome",
    }


def test_where_the_run_has_no_room_a_success_still_says_where_the_report_is() -> None:
    place: dict[FieldPath, Any] = {("outputs", "gcs_uri"): "gs://b/new.json"}
    step, job, alone = smaller(None, FORMER, place)

    assert step == {
        ("status",): "SUCCEEDED",
        ("error",): DELETE,
        ("outputs", "gcs_uri"): "gs://b/new.json",
        ("outputs", "execution"): DELETE,
    }
    assert (job["state",], job["lastError",]) == ("SUCCEEDED", DELETE)
    assert alone["lastError",]["message"] == (
        "the run document has no room for the outcome; the report is stored at gs://b/new.json"
    )


def test_the_smallest_ending_deletes_nothing_where_nothing_is() -> None:
    assert smallest_ending(run().data, STEP_ID, None) == {
        ("steps", STEP_ID, "status"): "SUCCEEDED"
    }


WAITING = Waiting(
    place="gemini-a",
    since=STARTED,
    until=STARTED + timedelta(seconds=90),
    due_at=STARTED,
    turn=STARTED,
)


@pytest.mark.parametrize(
    ("waiting", "last", "code", "message", "waited"),
    [
        (
            WAITING,
            LastError(code="RATE_LIMITED", message="429 for a minute"),
            "RATE_LIMITED",
            "no room at the provider for 90 s: 429 for a minute",
            {"waitedSeconds": 90, "waitedUntil": "2026-01-05T09:01:30.000Z"},
        ),
        (
            WAITING,
            LastError(code="GEMINI_REQUEST_FAILED", message="503"),
            "GEMINI_REQUEST_FAILED",
            "no room at the provider for 90 s: 503",
            {"waitedSeconds": 90, "waitedUntil": "2026-01-05T09:01:30.000Z"},
        ),
        (
            WAITING,
            None,
            "RATE_LIMITED",
            "no room at the provider for 90 s: other calls came first",
            {"waitedSeconds": 90, "waitedUntil": "2026-01-05T09:01:30.000Z"},
        ),
        (
            None,
            None,
            "RATE_LIMITED",
            "no room at the provider for 91 s: other calls came first",
            {"waitedSeconds": 91},
        ),
    ],
    ids=["refused", "unavailable", "never let through", "no queue"],
)
def test_a_patience_that_is_over_says_what_was_waited_for_and_how_long(
    waiting: Waiting | None,
    last: LastError | None,
    code: str,
    message: str,
    waited: dict[str, Any],
) -> None:
    error = patience_over(replace(JOB, waiting=waiting, last_error=last, refusals=4), NOW)

    assert (str(error.code), error.message) == (code, message)
    assert error.details == {"refusals": 4, **waited}
