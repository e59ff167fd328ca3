"""Any order of moves of a job: no way out of its final states, at most one live lease."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from shared.domain.documents import Version
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.job_documents import job_document, job_ref, parse_job_record, update_job
from shared.domain.jobs import (
    CLOSED_STATES,
    JobMove,
    JobRecord,
    JobState,
    LastError,
)
from shared.domain.steps import IllegalMove

LEASE = timedelta(seconds=60)
DELAYS = st.integers(0, 120).map(lambda seconds: timedelta(seconds=seconds))
ENDS = st.sampled_from([JobMove.SUCCEED, JobMove.FAIL, JobMove.ABANDON])
ERROR = LastError(code="RATE_LIMITED", message="429")


class JobLife(RuleBasedStateMachine):
    """Holders that come and go, and a clock that only moves on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = datetime(2026, 1, 5, 9, tzinfo=UTC)
        self.holders = 0
        self.attempts = self.calls = 0

    @initialize()
    def claim(self) -> None:
        self.job = JobRecord(
            run_id=RunId("20260105-090000_BTCUSDT_abc"),
            step_id=StepId("1d:report"),
            claim_id=ClaimId("c1"),
            event_id="e1",
            claimed_at=self.now,
            state=JobState.QUEUED,
            wake_at=self.now + LEASE,
        )

    @rule(delay=DELAYS)
    def wait(self, delay: timedelta) -> None:
        self.now += delay

    @precondition(lambda self: not self.job.closed and not self.job.leased_at(self.now))
    @rule()
    def lease(self) -> None:
        self.holders += 1
        self.job = self.job.take_lease(owner=f"o{self.holders}", now=self.now, lease_for=LEASE)
        self.attempts += 1

    @precondition(lambda self: self.job.state is JobState.RUNNING)
    @rule()
    def renew(self) -> None:
        before = self.job
        self.job = self.job.renew(now=self.now, lease_for=LEASE)
        assert before.lease is not None
        assert self.job.lease is not None
        assert self.job.lease.owner == before.lease.owner

    @precondition(lambda self: self.job.state is JobState.RUNNING)
    @rule()
    def call_the_model(self) -> None:
        self.job = self.job.book_llm_call()
        self.calls += 1

    @precondition(lambda self: self.job.state is JobState.RUNNING)
    @rule(delay=DELAYS)
    def give_back(self, delay: timedelta) -> None:
        self.job = self.job.release(now=self.now, not_before=self.now + delay, error=ERROR)

    @precondition(lambda self: self.job.state is JobState.RUNNING)
    @rule(move=ENDS)
    def end(self, move: JobMove) -> None:
        self.job = self.job.close(move, now=self.now, keep_for=LEASE)

    @precondition(lambda self: self.job.closed)
    @rule(move=ENDS)
    def nothing_leads_out_of_a_final_state(self, move: JobMove) -> None:
        with pytest.raises(IllegalMove):
            self.job.take_lease(owner="late", now=self.now, lease_for=LEASE)
        with pytest.raises(IllegalMove):
            self.job.renew(now=self.now, lease_for=LEASE)
        with pytest.raises(IllegalMove):
            self.job.release(now=self.now, not_before=self.now, error=ERROR)
        with pytest.raises(IllegalMove):
            self.job.close(move, now=self.now, keep_for=LEASE)

    @invariant()
    def a_lease_is_there_exactly_while_the_job_runs(self) -> None:
        assert (self.job.lease is not None) is (self.job.state is JobState.RUNNING)

    @invariant()
    def an_open_job_wakes_somebody_and_a_closed_one_nobody(self) -> None:
        assert (self.job.wake_at is None) is (self.job.state in CLOSED_STATES)

    @invariant()
    def attempts_and_calls_are_counted_and_never_forgotten(self) -> None:
        assert (self.job.attempt, self.job.llm_calls) == (self.attempts, self.calls)

    @invariant()
    def the_stored_form_reads_back(self) -> None:
        assert parse_job_record(job_document(self.job)) == self.job
        ref = job_ref(self.job.run_id, self.job.step_id)
        assert update_job(self.job, Version(1)).ref == ref


TestJobLife = JobLife.TestCase
