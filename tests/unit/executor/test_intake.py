"""What a delivery asks for: the decision, row by row."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from executor.jobs.intake import (
    Abandon,
    AwaitHook,
    ComeAgain,
    Decision,
    Defer,
    GiveUp,
    Gone,
    Idle,
    Ignore,
    Proceed,
    decide,
    decide_without_run,
    nothing_to_work_on,
)
from shared.domain.documents import DocumentRef, Snapshot, Version
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.jobs import BackgroundCall, JobMove, JobRecord, JobState, LastError
from shared.domain.messages import JobMessage
from shared.domain.steps import StepStatus
from shared.domain.waiting import Waiting

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


def decided(message: JobMessage, job: JobRecord, document: Snapshot | None) -> Decision:
    if document is None:
        return decide_without_run(message=message, job=job, now=NOW)
    data = document.data
    return decide(message=message, job=job, run=data, max_attempts=MAX_ATTEMPTS, now=NOW)


IN_QUEUE = Waiting(
    place="gemini-a", since=NOW - MINUTE, until=NOW + 3 * MINUTE, due_at=NOW, turn=NOW
)
SLOT = replace(IN_QUEUE, slot_until=NOW + MINUTE)

ROWS: dict[str, tuple[JobRecord, Snapshot | None, Decision]] = {
    "a claim that waits": (QUEUED, run(), Proceed()),
    "a live lease": (leased(NOW), run(), Ignore(Idle.LEASE_HELD)),
    "a lease in its last moment": (
        leased(NOW - MINUTE + timedelta(microseconds=1)),
        run(),
        Ignore(Idle.LEASE_HELD),
    ),
    "a lease that expired": (leased(NOW - MINUTE), run(), Proceed()),
    "closed": (
        leased(NOW).close(JobMove.SUCCEED, now=NOW, keep_for=MINUTE),
        run("SUCCEEDED"),
        Ignore(Idle.ALREADY_FINAL),
    ),
    "too early": (released(NOW + MINUTE), run(), Defer(NOW + MINUTE)),
    "just in time": (released(NOW), run(), Proceed()),
    "the budget is spent": (leased(NOW - MINUTE, MAX_ATTEMPTS), run(), GiveUp()),
    "one attempt is left": (leased(NOW - MINUTE, MAX_ATTEMPTS - 1), run(), Proceed()),
    "the run is gone": (QUEUED, None, Abandon(Gone.RUN_MISSING)),
    "closed, and the run is gone": (
        leased(NOW).close(JobMove.SUCCEED, now=NOW, keep_for=MINUTE),
        None,
        Ignore(Idle.ALREADY_FINAL),
    ),
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
    "in the queue": (
        replace(QUEUED, waiting=IN_QUEUE, not_before=NOW - MINUTE),
        run(),
        Defer(NOW - MINUTE),
    ),
    "in the queue, without a time": (
        replace(QUEUED, waiting=IN_QUEUE),
        run(),
        Defer(NOW + 3 * MINUTE),
    ),
    "let out of the queue": (replace(QUEUED, waiting=SLOT), run(), Proceed()),
    "let out of the queue before, and its holder died": (
        replace(leased(NOW - MINUTE), waiting=IN_QUEUE),
        run(),
        Proceed(),
    ),
    "cancelled, and in the queue": (
        replace(QUEUED, waiting=IN_QUEUE),
        run("CANCELLED"),
        Abandon(Gone.STEP_NOT_RUNNING),
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

    assert decided(MESSAGE, job, document) == expected


@pytest.mark.parametrize(
    "job", [QUEUED, leased(NOW), leased(NOW - MINUTE), released(NOW)], ids=str
)
def test_a_message_of_a_former_claim_is_fenced_off(job: JobRecord) -> None:
    stale = JobMessage(run_id=RUN_ID, step_id=STEP_ID, claim_id=ClaimId("c0"))

    assert decided(stale, job, run()) == Ignore(Idle.STALE_CLAIM)
    assert decided(stale, job, None) == Ignore(Idle.STALE_CLAIM)


@pytest.mark.parametrize("status", [*map(str, StepStatus), None, 7, []])
def test_only_a_running_step_is_worked_on(status: Any) -> None:
    gone = nothing_to_work_on(run(status).data, STEP_ID)

    assert gone is (None if status == "RUNNING" else Gone.STEP_NOT_RUNNING)


@pytest.mark.parametrize("document", [None, {}, {"steps": None}])
def test_nothing_is_worked_on_where_the_run_or_the_step_has_vanished(
    document: dict[str, Any] | None,
) -> None:
    expected = Gone.RUN_MISSING if document is None else Gone.STEP_MISSING

    assert nothing_to_work_on(document, STEP_ID) is expected


WAIT = timedelta(minutes=10)
ID = "v1_abc"


def booked(at: datetime) -> JobRecord:
    """A job whose holder booked a call, and recorded no id."""
    return leased(at).book_llm_call()


def begun(at: datetime, call_id: str = ID) -> JobRecord:
    call = BackgroundCall(id=call_id, begun_at=at, input_digest="")
    return booked(at).begin_in_background(call)


DEAD = NOW - 2 * MINUTE
UNTIL = DEAD + MINUTE + WAIT
AWAITED = booked(DEAD).await_hook(until=UNTIL)

#: Each row: a job, the call that a hook named or None, and what the message then asks for in a
#: deployment to which hooks come.
HOOK_ROWS: dict[str, tuple[JobRecord, str | None, Decision]] = {
    "its beginner died": (booked(DEAD), None, AwaitHook(UNTIL)),
    "its beginner died too long ago": (booked(DEAD - WAIT), None, Proceed()),
    "the wait ends at this moment": (booked(NOW - MINUTE - WAIT), None, Proceed()),
    "nothing was booked": (leased(DEAD), None, Proceed()),
    "the id was recorded": (begun(DEAD), None, Proceed()),
    "the budget is spent": (leased(DEAD, MAX_ATTEMPTS).book_llm_call(), None, GiveUp()),
    "it is waited for": (AWAITED, None, Defer(UNTIL)),
    "it was waited for": (replace(AWAITED, not_before=NOW), None, Proceed()),
    "a hook for what is waited for": (AWAITED, ID, Proceed(ID)),
    "a hook that is there first": (booked(DEAD), ID, Proceed(ID)),
    "a hook that comes too late": (booked(DEAD - WAIT), ID, Proceed(ID)),
    "a hook in the middle of the begin": (booked(NOW), ID, ComeAgain()),
    "a hook for what is looked at now": (begun(NOW), ID, ComeAgain()),
    "a hook for another call": (begun(NOW), "v1_other", Ignore(Idle.LEASE_HELD)),
    "a hook where nothing is booked": (leased(NOW), ID, Ignore(Idle.LEASE_HELD)),
    "a hook for a job that rests": (released(NOW + MINUTE), ID, Defer(NOW + MINUTE)),
}


@pytest.mark.parametrize("row", HOOK_ROWS)
def test_a_hook_is_waited_for_once_and_never_lost_to_a_live_holder(row: str) -> None:
    job, ended_call, expected = HOOK_ROWS[row]

    decision = decide(
        message=MESSAGE,
        job=job,
        run=run().data,
        max_attempts=MAX_ATTEMPTS,
        now=NOW,
        ended_call=ended_call,
        hook_wait=WAIT,
    )

    assert decision == expected


@pytest.mark.parametrize("ended_call", [None, ID])
def test_without_hooks_nobody_waits_for_one(ended_call: str | None) -> None:
    decision = decide(
        message=MESSAGE,
        job=booked(DEAD),
        run=run().data,
        max_attempts=MAX_ATTEMPTS,
        now=NOW,
        ended_call=ended_call,
    )

    assert decision == Proceed()


def test_the_reasons_have_the_names_that_queries_over_the_log_ask_for() -> None:
    assert [*Idle] == ["job_missing", "stale_claim", "already_final", "lease_held"]
    assert [*Gone] == ["run_missing", "step_missing", "step_not_running", "step_retyped"]
