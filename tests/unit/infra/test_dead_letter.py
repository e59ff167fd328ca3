"""What a replay does with a dead letter: each row of the decision table."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.ops.dead_letters.letter import (
    DeadLetter,
    ReplayPlan,
    ReplayRules,
    Selection,
    Verdict,
    plan_replay,
)
from infra.ops.steps.acts import StepRecords
from shared.domain.attempts import Attempt, OperatorAct
from shared.domain.documents import DELETE, DocumentRef, Snapshot, Update, Version
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.job_documents import job_document, job_ref
from shared.domain.jobs import JobRecord, JobState, LastError, Lease
from shared.domain.messages import JobMessage

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
RUN, STEP = RunId("20260105-090000_BTCUSDT_abc"), StepId("1d:report")
ACT = OperatorAct(act="replay", at=NOW, reason="dead letter 7: undeliverable")
RULES = ReplayRules(rerun=False, call_budget=5, wake_after=120 * SECOND)
RERUN = replace(RULES, rerun=True)
FORWARDED = {
    "CloudPubSubDeadLetterSourceDeliveryCount": "10",
    "CloudPubSubDeadLetterSourceSubscription": "llm-jobs-push",
    "CloudPubSubDeadLetterSourceSubscriptionProject": "p",
    "CloudPubSubDeadLetterSourceTopicPublishTime": "2026-01-05T08:00:00.000+00:00",
}

MESSAGE = JobMessage(run_id=RUN, step_id=STEP, claim_id=ClaimId("claim-1"))
LETTER = DeadLetter(
    message_id="7",
    published_at=NOW - timedelta(hours=1),
    data=MESSAGE.encode().data,
    attributes={**MESSAGE.encode().attributes, "traceparent": "00-aa", **FORWARDED},
)
UNREADABLE = replace(
    LETTER, data=b"rubbish", attributes={"workerReason": "the data is not JSON", "a": "b"}
)

QUEUED = JobRecord(
    run_id=RUN,
    step_id=STEP,
    claim_id=ClaimId("claim-1"),
    event_id="event-1",
    claimed_at=NOW - timedelta(hours=1),
    state=JobState.QUEUED,
    wake_at=NOW + 600 * SECOND,
)
DIED = replace(
    QUEUED,
    state=JobState.RUNNING,
    attempt=3,
    llm_calls=2,
    wakes=4,
    lease=Lease(owner="gone", expires_at=NOW - SECOND),
    history=tuple(Attempt(number=n, started_at=NOW) for n in (1, 2, 3)),
)
HELD = replace(DIED, lease=Lease(owner="alive", expires_at=NOW + SECOND))
FAILED = replace(
    DIED,
    state=JobState.FAILED,
    lease=None,
    wake_at=None,
    last_error=LastError(code="RATE_LIMITED", message="status=429"),
)


def records(
    job: JobRecord | None, status: str = "RUNNING", *, run_status: str = "RUNNING"
) -> StepRecords:
    step = {"stepType": "LLM_REPORT", "status": status, "error": {"code": "X"}}
    data: Mapping[str, Any] = {"status": run_status, "steps": {STEP: step}}
    run = Snapshot(ref=DocumentRef("flow_runs", RUN), version=Version(1_000), data=data)
    stored = job and job_document(job)
    ref, version = job_ref(RUN, STEP), Version(2_000)
    snapshot = Snapshot(ref=ref, version=version, data=stored) if stored else None
    return StepRecords(run=run, step_id=STEP, job=snapshot)


def plan(found: StepRecords | None, rules: ReplayRules = RULES) -> ReplayPlan:
    return plan_replay(LETTER, found, rules, ACT)


@pytest.mark.parametrize(
    ("found", "rules", "verdict", "why"),
    [
        pytest.param(
            records(QUEUED), RULES, Verdict.REPLAY, "QUEUED after 0", id="never begun"
        ),
        pytest.param(
            records(DIED), RULES, Verdict.REPLAY, "RUNNING after 3", id="holders died"
        ),
        pytest.param(records(HELD), RULES, Verdict.KEEP, "works on it", id="held"),
        pytest.param(None, RULES, Verdict.ACKNOWLEDGE, "run is gone", id="no run"),
        pytest.param(
            records(None), RULES, Verdict.ACKNOWLEDGE, "closed long ago", id="no record"
        ),
        pytest.param(
            records(replace(QUEUED, claim_id=ClaimId("claim-2"))),
            RERUN,
            Verdict.ACKNOWLEDGE,
            "newer claim",
            id="claimed anew",
        ),
        pytest.param(
            records(replace(FAILED, state=JobState.SUCCEEDED), "SUCCEEDED"),
            RERUN,
            Verdict.ACKNOWLEDGE,
            "SUCCEEDED",
            id="succeeded meanwhile",
        ),
        pytest.param(
            records(DIED, "CANCELLED"), RERUN, Verdict.ACKNOWLEDGE, "CANCELLED", id="cancelled"
        ),
        pytest.param(
            records(FAILED, "FAILED"), RULES, Verdict.KEEP, "RATE_LIMITED.*--rerun", id="failed"
        ),
        pytest.param(
            records(FAILED, "FAILED"), RERUN, Verdict.RERUN, "RATE_LIMITED", id="reopened"
        ),
        pytest.param(
            records(FAILED, "FAILED", run_status="FAILED"),
            RERUN,
            Verdict.KEEP,
            "the run is FAILED",
            id="failed with its run",
        ),
    ],
)
def test_each_letter_gets_what_its_records_ask_for(
    found: StepRecords | None, rules: ReplayRules, verdict: Verdict, why: str
) -> None:
    made = plan(found, rules)

    assert made.verdict is verdict
    assert re.search(why, made.why)
    assert bool(made.writes) == (verdict in {Verdict.REPLAY, Verdict.RERUN})


def test_a_letter_that_cannot_be_read_stays() -> None:
    made = plan_replay(UNREADABLE, None, RERUN, ACT)

    assert made.verdict is Verdict.KEEP
    assert made.writes == ()


def test_a_record_of_somebody_else_keeps_the_letter() -> None:
    found = records(QUEUED)
    assert found.job is not None
    foreign = replace(found, job=replace(found.job, data={"state": "?"}))

    assert plan(foreign).verdict is Verdict.KEEP


def test_a_replay_gives_a_fresh_attempt_budget_and_leaves_paid_calls_counted() -> None:
    [write] = plan(records(DIED)).writes

    assert isinstance(write, Update)
    assert write.guard == Version(2_000)
    assert write.changes[("attempt",)] == 0
    assert write.changes[("llmCalls",)] == 2
    assert write.changes[("wakes",)] in {0, DELETE}
    assert write.changes[("wakeAt",)] == NOW + RULES.wake_after
    assert write.changes[("operatorActs",)] == [
        {"act": "replay", "at": NOW, "reason": ACT.reason}
    ]


def test_after_a_replay_the_executor_still_looks_for_a_report_before_it_pays() -> None:
    revived = DIED.with_fresh_attempts(wake_at=NOW)
    leased = revived.take_lease(owner="new", now=NOW, lease_for=SECOND)

    assert leased.attempt == 1
    assert leased.may_have_artifact


def test_a_rerun_is_remembered_as_one() -> None:
    run, job = plan(records(FAILED, "FAILED"), RERUN).writes

    assert isinstance(run, Update)
    assert isinstance(job, Update)
    assert run.changes[("steps", STEP, "status")] == "READY"
    assert run.changes[("steps", STEP, "error")] is DELETE
    assert job.changes[("operatorActs",)][0]["act"] == "rerun"
    assert job.changes[("state",)] == "FAILED"


@pytest.mark.parametrize(
    ("found", "rules", "least", "most"),
    [
        pytest.param(records(QUEUED), RULES, 1, 5, id="nothing was paid for yet"),
        pytest.param(records(DIED), RULES, 0, 3, id="two of five are spent"),
        pytest.param(records(replace(DIED, llm_calls=9)), RULES, 0, 0, id="all are spent"),
        pytest.param(records(FAILED, "FAILED"), RERUN, 0, 5, id="a new claim has its own"),
        pytest.param(records(FAILED, "FAILED"), RULES, 0, 0, id="nothing is replayed"),
    ],
)
def test_the_forecast_of_paid_calls(
    found: StepRecords, rules: ReplayRules, least: int, most: int
) -> None:
    made = plan(found, rules)

    assert (made.calls_at_least, made.calls_at_most) == (least, most)


def test_a_replayed_message_is_the_first_one_without_the_marks_of_a_dead_letter() -> None:
    again = LETTER.replayed()

    assert again.data == LETTER.data
    assert again.attributes == {
        **MESSAGE.encode().attributes,
        "traceparent": "00-aa",
        "replayOf": "7",
    }
    assert UNREADABLE.replayed().attributes == {"a": "b", "replayOf": "7"}


@pytest.mark.parametrize(
    ("selection", "taken"),
    [
        pytest.param(Selection(), {"7", "8"}, id="all"),
        pytest.param(Selection(run_id=RUN), {"7"}, id="run"),
        pytest.param(Selection(reason="UNREADABLE"), {"8"}, id="reason"),
        pytest.param(Selection(reason="refused 10 times"), {"7"}, id="its text"),
        pytest.param(Selection(older_than=timedelta(hours=1)), {"7"}, id="age"),
        pytest.param(Selection(message_ids=frozenset({"8"})), {"8"}, id="id"),
        pytest.param(Selection(run_id=RUN, reason="unreadable"), set(), id="both"),
    ],
)
def test_a_selection_takes_what_meets_all_of_it(selection: Selection, taken: set[str]) -> None:
    young = replace(UNREADABLE, message_id="8", published_at=NOW - SECOND)

    assert {one.message_id for one in (LETTER, young) if selection.takes(one, NOW)} == taken


def test_the_run_of_an_unreadable_letter_is_taken_from_its_attributes() -> None:
    letter = replace(UNREADABLE, attributes={"runId": RUN})

    assert Selection(run_id=RUN).takes(letter, NOW)
    assert letter.reason.startswith("unknown")
