"""What a delivery asks for: the decision, row by row."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from executor.intake import (
    Abandon,
    Decision,
    Defer,
    GiveUp,
    Gone,
    Idle,
    Ignore,
    Proceed,
    decide,
    nothing_to_work_on,
)
from shared.domain.documents import DocumentRef, Snapshot, Version
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.jobs import JobMove, JobRecord, JobState, LastError
from shared.domain.messages import JobMessage
from shared.domain.steps import StepStatus

RUN_ID, STEP_ID = RunId("20260105-090000_BTCUSDT_abc"), StepId("1d:report")
NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
MAX_ATTEMPTS = 5
QUEUED = JobRecord(
    run_id=RUN_ID,
    step_id=STEP_ID,
    claim_id=ClaimId("c1"),
    event_id="e1",
    claimed_at=NOW,
    state=JobState.QUEUED,
)
MESSAGE = JobMessage(run_id=RUN_ID, step_id=STEP_ID, claim_id=ClaimId("c1"))


def leased(at: datetime, attempts: int = 1) -> JobRecord:
    job = QUEUED
    for _ in range(attempts):
        job = job.take_lease(owner="o", now=at, lease_for=MINUTE)
    return job


def released(not_before: datetime, attempts: int = 1) -> JobRecord:
    error = LastError(code="RATE_LIMITED", message="429")
    return leased(NOW, attempts).release(now=NOW, not_before=not_before, error=error)


def run(status: Any = "RUNNING") -> Snapshot:
    return holding({"status": "RUNNING", "steps": {STEP_ID: {"status": status}}})


def holding(data: dict[str, Any]) -> Snapshot:
    return Snapshot(ref=DocumentRef("flow_runs", RUN_ID), version=Version(1), data=data)


ROWS: dict[str, tuple[JobRecord | None, Snapshot | None, Decision]] = {
    "a claim that waits": (QUEUED, run(), Proceed(run())),
    "never claimed": (None, run(), Ignore(Idle.JOB_MISSING)),
    "a live lease": (leased(NOW), run(), Ignore(Idle.LEASE_HELD)),
    "a lease in its last moment": (
        leased(NOW - MINUTE + timedelta(microseconds=1)),
        run(),
        Ignore(Idle.LEASE_HELD),
    ),
    "a lease that expired": (leased(NOW - MINUTE), run(), Proceed(run())),
    "closed": (
        leased(NOW).close(JobMove.SUCCEED, now=NOW, keep_for=MINUTE),
        run("SUCCEEDED"),
        Ignore(Idle.ALREADY_FINAL),
    ),
    "too early": (released(NOW + MINUTE), run(), Defer(NOW + MINUTE)),
    "just in time": (released(NOW), run(), Proceed(run())),
    "the budget is spent": (leased(NOW - MINUTE, MAX_ATTEMPTS), run(), GiveUp(run())),
    "one attempt is left": (leased(NOW - MINUTE, MAX_ATTEMPTS - 1), run(), Proceed(run())),
    "the run is gone": (QUEUED, None, Abandon(Gone.RUN_MISSING)),
    "the step is gone": (QUEUED, holding({"steps": {}}), Abandon(Gone.STEP_MISSING)),
    "the step is no map": (
        QUEUED,
        holding({"steps": {STEP_ID: 7}}),
        Abandon(Gone.STEP_MISSING),
    ),
    "steps is no map": (QUEUED, holding({"steps": []}), Abandon(Gone.STEP_MISSING)),
    "the step is another worker's now": (
        QUEUED,
        holding({"steps": {STEP_ID: {"status": "RUNNING", "stepType": "NEWS_EXPORT"}}}),
        Abandon(Gone.STEP_RETYPED),
    ),
    "cancelled, and too early": (
        released(NOW + MINUTE),
        run("CANCELLED"),
        Abandon(Gone.STEP_NOT_RUNNING),
    ),
    "cancelled, and a live lease": (
        leased(NOW),
        run("CANCELLED"),
        Ignore(Idle.LEASE_HELD),
    ),
}


@pytest.mark.parametrize("row", ROWS)
def test_each_state_of_the_records_has_its_decision(row: str) -> None:
    job, document, expected = ROWS[row]

    decision = decide(
        message=MESSAGE, job=job, run=document, max_attempts=MAX_ATTEMPTS, now=NOW
    )

    assert decision == expected


@pytest.mark.parametrize(
    "job", [QUEUED, leased(NOW), leased(NOW - MINUTE), released(NOW)], ids=str
)
def test_a_message_of_a_former_claim_is_fenced_off(job: JobRecord) -> None:
    stale = JobMessage(run_id=RUN_ID, step_id=STEP_ID, claim_id=ClaimId("c0"))

    decision = decide(message=stale, job=job, run=run(), max_attempts=MAX_ATTEMPTS, now=NOW)

    assert decision == Ignore(Idle.STALE_CLAIM)


@pytest.mark.parametrize("status", [*map(str, StepStatus), None, 7, []])
def test_only_a_running_step_is_worked_on(status: Any) -> None:
    gone = nothing_to_work_on(run(status).data, STEP_ID)

    assert gone is (None if status == "RUNNING" else Gone.STEP_NOT_RUNNING)
