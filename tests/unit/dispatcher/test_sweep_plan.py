"""What becomes of a due job: every row of the decision, and what the rows have in common."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.sweep_plan import (
    LONGEST_QUEUED_FOR,
    RECOVERY_WAKES,
    Plan,
    SweepOutcome,
    look_again_after,
    plan_due_job,
)
from shared.domain.documents import DELETE, DocumentRef, Snapshot, Update, Version
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.job_documents import job_document, job_ref
from shared.domain.jobs import CLOSED_STATES, JobRecord, JobState, LastError, Lease
from shared.domain.steps import StepStatus
from shared.domain.waiting import Waiting

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
KEEP = timedelta(days=30)
JITTER = timedelta(milliseconds=123)
QUEUED_FOR = timedelta(seconds=60)
MAX_ATTEMPTS = 5
RUN, STEP = RunId("20260105-090000_BTCUSDT_abc"), StepId("1d:report")
JOB_VERSION, RUN_VERSION = Version(7_000), Version(9_000)

QUEUED = JobRecord(
    run_id=RUN,
    step_id=STEP,
    claim_id=ClaimId("claim-1"),
    event_id="event-1",
    claimed_at=NOW - 130 * SECOND,
    state=JobState.QUEUED,
    wake_at=NOW - SECOND,
)
EXPIRED = replace(
    QUEUED,
    state=JobState.RUNNING,
    attempt=2,
    llm_calls=2,
    lease=Lease(owner="gone", expires_at=NOW - SECOND),
)
HELD = replace(EXPIRED, lease=Lease(owner="alive", expires_at=NOW + SECOND))
SPENT = replace(
    EXPIRED,
    attempt=MAX_ATTEMPTS,
    wakes=RECOVERY_WAKES,
    last_error=LastError(code="RATE_LIMITED", message="status=429"),
)


def run_with(status: StepStatus = StepStatus.RUNNING) -> Snapshot:
    llm = {"promptId": "llm_prompt_1d_report_v1_0"}
    step = {"stepType": "LLM_REPORT", "status": str(status), "inputs": {"llm": llm}}
    data = {"status": "RUNNING", "steps": {STEP: step}}
    return Snapshot(ref=DocumentRef("flow_runs", RUN), version=RUN_VERSION, data=data)


def plan(job: JobRecord, run: Snapshot | None) -> Plan | None:
    stored = Snapshot(ref=job_ref(RUN, STEP), version=JOB_VERSION, data=job_document(job))
    return plan_due_job(
        job=job,
        stored=stored,
        run=run,
        max_attempts=MAX_ATTEMPTS,
        keep_for=KEEP,
        queued_for=QUEUED_FOR,
        now=NOW,
        jitter=JITTER,
    )


@pytest.mark.parametrize(
    ("job", "run", "outcome"),
    [
        pytest.param(QUEUED, run_with(), SweepOutcome.REPUBLISHED, id="nobody took it"),
        pytest.param(EXPIRED, run_with(), SweepOutcome.REPUBLISHED, id="its holder died"),
        pytest.param(
            replace(SPENT, wakes=RECOVERY_WAKES - 1),
            run_with(),
            SweepOutcome.REPUBLISHED,
            id="the last holder died, perhaps with its report stored",
        ),
        pytest.param(SPENT, run_with(), SweepOutcome.EXHAUSTED, id="nobody came to look"),
        pytest.param(
            replace(QUEUED, attempt=MAX_ATTEMPTS, wakes=RECOVERY_WAKES),
            run_with(),
            SweepOutcome.EXHAUSTED,
            id="given back after the last attempt",
        ),
        pytest.param(QUEUED, None, SweepOutcome.ABANDONED, id="the run is gone"),
        pytest.param(
            QUEUED,
            replace(run_with(), data={"status": "RUNNING", "steps": {}}),
            SweepOutcome.ABANDONED,
            id="the step is gone",
        ),
        pytest.param(
            SPENT,
            replace(
                run_with(),
                data={"steps": {STEP: {"status": "RUNNING", "stepType": ["NEWS_EXPORT"]}}},
            ),
            SweepOutcome.ABANDONED,
            id="the step is another worker's now",
        ),
        pytest.param(
            QUEUED,
            replace(run_with(), data={"steps": 1}),
            SweepOutcome.ABANDONED,
            id="no steps",
        ),
        *(
            pytest.param(job, run_with(status), SweepOutcome.ABANDONED, id=f"step {status}")
            for status in StepStatus
            if status is not StepStatus.RUNNING
            for job in (EXPIRED, SPENT)
        ),
        pytest.param(HELD, run_with(), None, id="held"),
        pytest.param(HELD, None, None, id="held, and the run gone"),
        pytest.param(replace(QUEUED, wake_at=NOW + SECOND), run_with(), None, id="too early"),
        pytest.param(replace(QUEUED, wake_at=None), run_with(), None, id="never to be woken"),
        *(
            pytest.param(replace(SPENT, state=state), run_with(), None, id=f"{state} already")
            for state in sorted(CLOSED_STATES)
        ),
    ],
)
def test_each_due_job_gets_what_its_records_ask_for(
    job: JobRecord, run: Snapshot | None, outcome: SweepOutcome | None
) -> None:
    made = plan(job, run)

    assert (made and made.outcome) == outcome


def test_a_job_is_moved_forward_by_a_guarded_write_before_its_message_is_sent() -> None:
    made = plan(QUEUED, run_with())

    assert made is not None
    assert made.wake is not None
    [write] = made.writes
    assert isinstance(write, Update)
    assert (write.ref, write.guard) == (job_ref(RUN, STEP), JOB_VERSION)
    assert write.changes[("wakeAt",)] == NOW + QUEUED_FOR + JITTER
    assert made.wake.woken == replace(QUEUED, wakes=1, wake_at=NOW + QUEUED_FOR + JITTER)
    message = made.wake.message
    assert (message.run_id, message.step_id, message.claim_id) == (RUN, STEP, "claim-1")
    assert message.prompt_id == "llm_prompt_1d_report_v1_0"


def test_a_spent_job_ends_with_its_step_in_one_guarded_commit() -> None:
    made = plan(SPENT, run_with())

    assert made is not None
    assert made.wake is None
    run, job = made.writes
    assert isinstance(run, Update)
    assert isinstance(job, Update)
    assert (run.guard, job.guard) == (RUN_VERSION, JOB_VERSION)
    assert run.changes[("steps", STEP, "status")] == "FAILED"
    error = run.changes[("steps", STEP, "error")]
    assert error["code"] == "ATTEMPTS_EXHAUSTED"
    assert error["details"] == {"lastCode": "RATE_LIMITED", "lastMessage": "status=429"}
    assert job.changes[("state",)] == "FAILED"
    assert job.changes[("wakeAt",)] is DELETE


def test_an_abandoned_job_touches_nothing_but_its_own_record() -> None:
    made = plan(SPENT, run_with(StepStatus.CANCELLED))

    assert made is not None
    [write] = made.writes
    assert isinstance(write, Update)
    assert write.ref == job_ref(RUN, STEP)
    assert write.changes[("state",)] == "ABANDONED"
    assert write.changes[("wakeAt",)] is DELETE


@given(wakes=st.integers(min_value=0, max_value=10_000))
def test_every_message_that_nobody_took_is_given_more_time_within_bounds(wakes: int) -> None:
    assert look_again_after(wakes, QUEUED_FOR) >= QUEUED_FOR
    assert look_again_after(wakes, QUEUED_FOR) <= look_again_after(wakes + 1, QUEUED_FOR)
    assert look_again_after(wakes, QUEUED_FOR) <= LONGEST_QUEUED_FOR


def test_a_job_whose_holder_died_is_looked_at_again_soon() -> None:
    made = plan(EXPIRED, run_with())

    assert made is not None
    assert made.wake is not None
    assert made.wake.woken == replace(EXPIRED, wakes=1, wake_at=NOW + QUEUED_FOR + JITTER)


def waits(*, dearer_in: int, patience: int = 600) -> JobRecord:
    waiting = Waiting(
        place="gemini-x@ai_studio-flex",
        since=NOW - 60 * SECOND,
        until=NOW + patience * SECOND,
        due_at=NOW,
        turn=NOW,
        dearer_at=NOW + dearer_in * SECOND,
    )
    return QUEUED.wait_in_queue(waiting, now=NOW, not_before=NOW + 300 * SECOND, error=None)


def test_a_job_that_waits_for_a_cheap_tier_is_woken_when_a_dearer_one_may_be_asked() -> None:
    job = waits(dearer_in=-1)
    assert job.wake_at == NOW - SECOND

    found = plan(job, run_with())

    assert found is not None
    assert found.outcome is SweepOutcome.DEARER_TIER
    assert found.wake is not None
    woken = found.wake.woken
    # The job has left the queue, has no slot, and is at work at once.
    assert woken.waiting is not None
    assert not woken.waiting.queued
    assert not woken.waiting.has_slot(NOW)
    assert "queue" not in job_document(woken)
    assert woken.not_before is None
    assert woken.wake_at is not None
    assert woken.wake_at > NOW


def test_until_then_it_waits_and_its_patience_ends_all_the_same() -> None:
    assert plan(waits(dearer_in=1), run_with()) is None

    over = plan(waits(dearer_in=-10, patience=-1), run_with())

    assert over is not None
    assert over.outcome is SweepOutcome.OUT_OF_PATIENCE
