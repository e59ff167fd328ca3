"""The job record: its moves, and its form in the store."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.domain.attempts import CallPurpose, ModelCall
from shared.domain.documents import DELETE, Version
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.job_documents import (
    JobRecordInvalid,
    job_document,
    parse_job_record,
    update_job,
)
from shared.domain.jobs import (
    CLOSED_STATES,
    TRANSITIONS,
    BackgroundCall,
    JobMove,
    JobRecord,
    JobState,
    LastError,
    advance_job,
)
from shared.domain.steps import IllegalMove

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ERROR = LastError(code="RATE_LIMITED", message="the provider answered 429")


def queued() -> JobRecord:
    return JobRecord(
        run_id=RunId("20260105-090000_BTCUSDT_abc"),
        step_id=StepId("1d:report"),
        claim_id=ClaimId("c1"),
        event_id="e1",
        claimed_at=NOW,
        state=JobState.QUEUED,
        wake_at=NOW + MINUTE,
    )


def leased() -> JobRecord:
    return queued().take_lease(owner="o1", now=NOW, lease_for=MINUTE)


def test_every_state_has_its_row_and_no_closed_one_a_way_out_but_a_new_claim() -> None:
    assert set(TRANSITIONS) == set(JobState)
    for state in CLOSED_STATES:
        assert set(TRANSITIONS[state]) == {JobMove.CLAIM}


@pytest.mark.parametrize("state", list(JobState))
@pytest.mark.parametrize("move", list(JobMove))
def test_what_the_table_does_not_have_is_refused(state: JobState, move: JobMove) -> None:
    if move in TRANSITIONS[state]:
        assert advance_job(state, move) is TRANSITIONS[state][move]
    else:
        with pytest.raises(IllegalMove, match=f"a {state} job cannot {move}"):
            advance_job(state, move)


def test_a_lease_counts_an_attempt_and_is_what_the_sweep_waits_for() -> None:
    job = leased()

    assert (job.state, job.attempt) == (JobState.RUNNING, 1)
    assert job.lease is not None
    assert job.wake_at == job.lease.expires_at == NOW + MINUTE


def test_a_lease_is_held_until_the_moment_it_expires() -> None:
    job = leased()

    assert job.leased_at(NOW + MINUTE - timedelta(microseconds=1))
    assert not job.leased_at(NOW + MINUTE)
    assert not queued().leased_at(NOW)


def test_a_renewal_prolongs_the_lease_and_counts_no_attempt() -> None:
    job = leased().renew(now=NOW + MINUTE / 2, lease_for=MINUTE)

    assert job.attempt == 1
    assert job.lease is not None
    assert job.lease.owner == "o1"
    assert job.wake_at == job.lease.expires_at == NOW + MINUTE * 1.5


def test_only_a_leased_job_is_renewed() -> None:
    with pytest.raises(IllegalMove, match="no lease"):
        queued().renew(now=NOW, lease_for=MINUTE)


def test_a_job_given_back_waits_for_its_time_and_keeps_why() -> None:
    job = leased().book_llm_call().release(now=NOW, not_before=NOW + MINUTE, error=ERROR)

    assert job.state is JobState.QUEUED
    assert job.not_before == job.wake_at == NOW + MINUTE
    assert (job.lease, job.last_error, job.llm_calls) == (None, ERROR, 1)


@pytest.mark.parametrize("move", [JobMove.SUCCEED, JobMove.FAIL, JobMove.ABANDON])
def test_a_closed_job_wakes_nobody_and_is_deleted_some_day(move: JobMove) -> None:
    job = leased().close(move, now=NOW, keep_for=MINUTE)

    assert job.closed
    assert (job.lease, job.not_before, job.wake_at) == (None, None, None)
    assert job.expire_at == NOW + MINUTE


def test_an_update_deletes_what_the_new_state_does_not_have() -> None:
    write = update_job(leased().close(JobMove.SUCCEED, now=NOW, keep_for=MINUTE), Version(7))

    assert write.guard == Version(7)
    assert write.changes["lease",] is DELETE
    assert write.changes["wakeAt",] is DELETE
    assert write.changes["state",] == "SUCCEEDED"


@pytest.mark.parametrize(
    "job",
    [
        queued(),
        leased(),
        leased().release(now=NOW, not_before=NOW, error=ERROR),
        leased().close(JobMove.FAIL, now=NOW, keep_for=MINUTE, error=ERROR),
    ],
    ids=lambda job: str(job.state),
)
def test_what_was_stored_is_read_back(job: JobRecord) -> None:
    assert parse_job_record(job_document(job)) == job
    assert parse_job_record({**job_document(job), "unknown": 1}) == job


@pytest.mark.parametrize(
    "name",
    ["runId", "stepId", "claimId", "eventId", "claimedAt", "state", "attempt", "llmCalls"],
)
def test_a_record_without_a_required_field_is_none_of_ours(name: str) -> None:
    data = job_document(queued())
    del data[name]

    with pytest.raises(JobRecordInvalid, match=name):
        parse_job_record(data)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("state", "DONE"),
        ("state", None),
        ("attempt", "many"),
        ("attempt", None),
        ("attempt", float("inf")),
        ("llmCalls", []),
        ("lease", "o1"),
        ("lease", {"owner": "o1"}),
        ("lastError", {"code": "X"}),
    ],
)
def test_a_field_of_another_type_is_refused(name: str, value: Any) -> None:
    with pytest.raises(JobRecordInvalid):
        parse_job_record({**job_document(queued()), name: value})


CALL = BackgroundCall(id="v1_abc", begun_at=NOW, input_digest="digest")


def test_a_background_call_is_known_until_another_is_booked_or_it_is_settled() -> None:
    job = leased().book_llm_call().begin_in_background(CALL)

    assert parse_job_record(job_document(job)).interaction == CALL
    assert job.release(now=NOW, not_before=NOW, error=ERROR).interaction == CALL
    assert job.book_llm_call().interaction is None
    assert job.call_cost_nothing().interaction is None
    lost = job.lose_answer()
    assert (lost.interaction, lost.call_open) == (None, True)
    closed = job.close(JobMove.FAIL, now=NOW, keep_for=MINUTE)
    assert (closed.interaction, closed.call_open) == (CALL, False)


def test_waiting_for_an_answer_counts_as_no_attempt() -> None:
    begun = ModelCall(number=1, purpose=CallPurpose.REPORT, started_at=NOW)
    job = leased().book_llm_call().note_call(begun).begin_in_background(CALL)

    waiting = job.wait_for_answer(now=NOW + MINUTE, not_before=NOW + 2 * MINUTE)

    assert (waiting.state, waiting.attempt, waiting.lease) == (JobState.QUEUED, 0, None)
    assert (waiting.llm_calls, waiting.call_open, waiting.interaction) == (1, True, CALL)
    assert waiting.wake_at == waiting.not_before == NOW + 2 * MINUTE
    assert waiting.history[0].ended_at == NOW + MINUTE


def test_looks_in_vain_leave_no_trace_in_the_history() -> None:
    """Many such looks would drive the call that is waited for out of the history."""
    begun = ModelCall(number=1, purpose=CallPurpose.REPORT, started_at=NOW)
    first = leased().note_call(begun).wait_for_answer(now=NOW, not_before=NOW)
    job = first
    for _ in range(50):
        job = job.take_lease(owner="o2", now=NOW, lease_for=MINUTE)
        job = job.note_call(begun).wait_for_answer(now=NOW, not_before=NOW)

    assert job.history == first.history
    assert job.attempt == 0


def test_a_call_that_two_attempts_know_is_remembered_once() -> None:
    call = ModelCall(number=1, purpose=CallPurpose.REPORT, started_at=NOW)
    job = leased().note_call(call).wait_for_answer(now=NOW, not_before=NOW)
    again = job.take_lease(owner="o2", now=NOW, lease_for=MINUTE)

    answered = again.note_call(replace(call, finish_reason="STOP"))

    assert [attempt.calls for attempt in answered.history] == [
        (replace(call, finish_reason="STOP"),),
        (),
    ]
