"""What operators may do to a step, and what the commit that does it holds."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.local.embedded.documents import EmbeddedDocuments
from infra.ops.runs.reading import NotFound
from infra.ops.steps.acts import ActRefused, Note, perform
from shared.domain.attempts import MAX_ACTS_KEPT, MAX_CLAIMS_KEPT, OperatorAct
from shared.domain.documents import Create, DocumentRef, Snapshot, Update, Version, Write
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.job_documents import create_job, job_document, job_ref, parse_job_record
from shared.domain.jobs import JobRecord, JobState, LastError, Lease
from shared.domain.steps import OperatorMove, StepStatus
from shared.ports import StoreUnavailable

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
RUN, STEP = RunId("20260105-090000_BTCUSDT_abc"), StepId("1d:report")
RUN_REF = DocumentRef("flow_runs", RUN)
ACT = OperatorAct(act="test", at=NOW, reason="because")
TIMEOUT = 1.0
ALLOWED = {
    OperatorMove.CANCEL: {StepStatus.RUNNING},
    OperatorMove.RERUN: {StepStatus.FAILED, StepStatus.CANCELLED},
}

RUNNING = JobRecord(
    run_id=RUN,
    step_id=STEP,
    claim_id=ClaimId("claim-1"),
    event_id="event-1",
    claimed_at=NOW - timedelta(minutes=1),
    state=JobState.RUNNING,
    attempt=1,
    llm_calls=1,
    lease=Lease(owner="alive", expires_at=NOW + timedelta(minutes=1)),
    wake_at=NOW + timedelta(minutes=1),
)
FAILED = replace(
    RUNNING,
    state=JobState.FAILED,
    lease=None,
    wake_at=None,
    last_error=LastError(code="RATE_LIMITED", message="status=429"),
    expire_at=NOW + timedelta(days=30),
)
ENDED: dict[str, Any] = {
    "finishedAt": "2026-01-05T08:59:00.000Z",
    "error": {"code": "RATE_LIMITED"},
}


async def site(
    status: StepStatus,
    job: JobRecord | None,
    *,
    run_status: str = "RUNNING",
    **fields: Any,
) -> EmbeddedDocuments:
    documents = EmbeddedDocuments()
    step = {"stepType": "LLM_REPORT", "status": str(status), "inputs": {"a": 1}, **fields}
    data = {"status": run_status, "steps": {STEP: step, "ohlcv": _other_step()}}
    await documents.commit([Create(ref=RUN_REF, data=data)], timeout_seconds=TIMEOUT)
    if job is not None:
        await documents.commit([create_job(job)], timeout_seconds=TIMEOUT)
    return documents


def _other_step() -> dict[str, Any]:
    return {"stepType": "OHLCV_EXPORT", "status": "RUNNING"}


async def records(documents: EmbeddedDocuments) -> tuple[dict[str, Any], JobRecord]:
    """The step, and its job record."""
    run, job = await documents.read([RUN_REF, job_ref(RUN, STEP)], timeout_seconds=TIMEOUT)
    assert run is not None
    assert job is not None
    return run.data["steps"][STEP], parse_job_record(job.data)


async def test_a_cancelled_step_and_its_job_end_together_and_the_act_is_kept() -> None:
    documents = await site(StepStatus.RUNNING, RUNNING)

    await perform(OperatorMove.CANCEL, documents, RUN_REF, STEP, ACT)

    step, job = await records(documents)
    assert (step["status"], step["finishedAt"]) == ("CANCELLED", "2026-01-05T09:00:00.000Z")
    assert "error" not in step
    assert (job.state, job.lease, job.wake_at) == (JobState.ABANDONED, None, None)
    assert job.operator_acts == (ACT,)


@pytest.mark.parametrize("status", [StepStatus.FAILED, StepStatus.CANCELLED])
async def test_a_step_run_again_is_ready_without_traces_of_its_end(status: StepStatus) -> None:
    documents = await site(status, FAILED, **ENDED)

    await perform(OperatorMove.RERUN, documents, RUN_REF, STEP, ACT)

    step, job = await records(documents)
    assert step == {"stepType": "LLM_REPORT", "status": "READY", "inputs": {"a": 1}}
    # The record stays closed: only a new claim opens it, and keeps the list of operators' acts.
    assert job == replace(FAILED, operator_acts=(ACT,))


@pytest.mark.parametrize(
    ("move", "status"),
    [
        (move, status)
        for move in OperatorMove
        for status in StepStatus
        if status not in ALLOWED[move]
    ],
)
async def test_an_act_that_the_status_does_not_allow_changes_nothing_and_says_why(
    move: OperatorMove, status: StepStatus
) -> None:
    documents = await site(status, FAILED, **ENDED)
    before = await records(documents)

    with pytest.raises(ActRefused, match=f"{move} is not for a {status} step; .+"):
        await perform(move, documents, RUN_REF, STEP, ACT)

    assert await records(documents) == before


@pytest.mark.parametrize("run_status", ["FAILED", "SUCCEEDED", "CANCELLED", "PENDING"])
async def test_no_step_is_reopened_in_a_run_that_does_not_run(run_status: str) -> None:
    documents = await site(StepStatus.FAILED, FAILED, run_status=run_status)

    with pytest.raises(ActRefused, match=f"the run is {run_status}"):
        await perform(OperatorMove.RERUN, documents, RUN_REF, STEP, ACT)


async def test_a_step_that_was_never_claimed_is_the_orchestrator_s() -> None:
    documents = await site(StepStatus.FAILED, None)

    with pytest.raises(ActRefused, match="have the orchestrator"):
        await perform(OperatorMove.RERUN, documents, RUN_REF, STEP, ACT)


async def test_steps_of_other_workers_are_not_touched() -> None:
    documents = await site(StepStatus.RUNNING, RUNNING)

    with pytest.raises(ActRefused, match="OHLCV_EXPORT"):
        await perform(OperatorMove.CANCEL, documents, RUN_REF, StepId("ohlcv"), ACT)


async def test_what_does_not_exist_is_named() -> None:
    documents = await site(StepStatus.RUNNING, RUNNING)

    with pytest.raises(NotFound, match=f"no step 'other'; its report steps: {STEP}"):
        await perform(OperatorMove.CANCEL, documents, RUN_REF, StepId("other"), ACT)
    with pytest.raises(NotFound, match="there is no run"):
        await perform(OperatorMove.CANCEL, documents, DocumentRef("flow_runs", "x"), STEP, ACT)


async def test_the_record_keeps_the_latest_acts_alone() -> None:
    earlier = tuple(replace(ACT, reason=str(number)) for number in range(MAX_ACTS_KEPT))
    documents = await site(StepStatus.RUNNING, replace(RUNNING, operator_acts=earlier))

    await perform(OperatorMove.CANCEL, documents, RUN_REF, STEP, ACT)

    _, job = await records(documents)
    assert job.operator_acts == (*earlier[1:], ACT)


class Disturbed(EmbeddedDocuments):
    """Loses the answers of the first commits, or lets another write come before them."""

    lost_answers = 0
    written_before = 0

    async def commit(self, writes: Sequence[Write], *, timeout_seconds: float) -> Version:
        """See the class."""
        if self.written_before:
            self.written_before -= 1
            [run] = await self.read([RUN_REF], timeout_seconds=TIMEOUT)
            assert run is not None
            await super().commit([_touched(run, self.written_before)], timeout_seconds=TIMEOUT)
        version = await super().commit(writes, timeout_seconds=timeout_seconds)
        if self.lost_answers:
            self.lost_answers -= 1
            raise StoreUnavailable("DeadlineExceeded")
        return version


def _touched(run: Snapshot, number: int) -> Update:
    return Update(ref=run.ref, changes={("progress",): number}, guard=run.version)


async def disturbed() -> Disturbed:
    documents = Disturbed()
    step = {"stepType": "LLM_REPORT", "status": "RUNNING"}
    data = {"status": "RUNNING", "steps": {STEP: step}}
    await documents.commit([Create(ref=RUN_REF, data=data)], timeout_seconds=TIMEOUT)
    await documents.commit([create_job(RUNNING)], timeout_seconds=TIMEOUT)
    return documents


async def test_an_act_whose_answer_was_lost_is_done_once() -> None:
    documents = await disturbed()
    documents.lost_answers = 1

    await perform(OperatorMove.CANCEL, documents, RUN_REF, STEP, ACT)

    step, job = await records(documents)
    assert (step["status"], job.operator_acts) == ("CANCELLED", (ACT,))


async def test_an_act_outlasts_others_who_write_the_run() -> None:
    documents = await disturbed()
    documents.written_before = 3

    await perform(OperatorMove.CANCEL, documents, RUN_REF, STEP, ACT)

    step, _ = await records(documents)
    assert step["status"] == "CANCELLED"


async def test_an_act_gives_up_on_a_run_that_never_rests() -> None:
    documents = await disturbed()
    documents.written_before = 1_000

    with pytest.raises(ActRefused, match="changed during each"):
        await perform(OperatorMove.CANCEL, documents, RUN_REF, STEP, ACT)


def by(author: str, claim: str = "claim-1") -> OperatorAct:
    return replace(ACT, by=author, via="test", claim_id=ClaimId(claim))


async def test_of_two_operators_one_acts_and_the_other_is_told_who_and_when() -> None:
    documents = await site(StepStatus.FAILED, FAILED, **ENDED)
    rerun = OperatorMove.RERUN
    await perform(rerun, documents, RUN_REF, STEP, replace(by("ann"), act="rerun"))

    with pytest.raises(ActRefused, match=r"ann did a rerun at 2026-01-05T09:00:00\.000Z"):
        await perform(rerun, documents, RUN_REF, STEP, replace(by("ben"), act="rerun"))

    _, job = await records(documents)
    assert [act.by for act in job.operator_acts] == ["ann"]


async def test_an_act_on_a_step_that_was_claimed_again_since_its_author_looked_is_refused() -> (
    None
):
    first = replace(by("ann"), act="rerun")
    again = replace(FAILED, claim_id=ClaimId("claim-2"), operator_acts=(first,))
    documents = await site(StepStatus.FAILED, again, **ENDED)

    with pytest.raises(ActRefused, match=r"claimed again at .+\(ann did a rerun at .+look at"):
        await perform(OperatorMove.RERUN, documents, RUN_REF, STEP, by("ben"))

    step, job = await records(documents)
    assert (step["status"], job) == ("FAILED", again)


async def test_an_acknowledged_failure_stays_as_it_is_until_the_step_is_claimed_again() -> None:
    documents = await site(StepStatus.FAILED, FAILED, **ENDED)

    await perform(Note.ACKNOWLEDGE, documents, RUN_REF, STEP, by("ann"))

    step, job = await records(documents)
    assert (step["status"], job.acknowledged) == ("FAILED", True)
    assert [act.by for act in job.operator_acts] == ["ann"]
    again = job.claimed_again(claim_id=ClaimId("claim-2"), event_id="e", now=NOW, wake_at=NOW)
    assert not again.acknowledged
    assert again.operator_acts == job.operator_acts


async def test_only_a_failure_is_acknowledged() -> None:
    documents = await site(StepStatus.RUNNING, RUNNING)

    with pytest.raises(ActRefused, match="only a FAILED step"):
        await perform(Note.ACKNOWLEDGE, documents, RUN_REF, STEP, by("ann"))


def test_every_former_claim_keeps_its_attempts_and_what_they_cost() -> None:
    record = RUNNING.take_lease(owner="x", now=NOW, lease_for=timedelta(minutes=1))
    claims = [("claim-2", 0.5), ("claim-3", None)]
    for claim, cost in claims:
        record = record.claimed_again(
            claim_id=ClaimId(claim), event_id="e", now=NOW, wake_at=NOW, cost_usd=cost
        )

    first, second = parse_job_record(job_document(record)).former_claims
    assert (first.claim_id, first.cost_usd, len(first.attempts)) == ("claim-1", 0.5, 1)
    assert (second.claim_id, second.cost_usd, second.attempts) == ("claim-2", None, ())
    for number in range(20):
        record = record.claimed_again(
            claim_id=ClaimId(str(number)), event_id="e", now=NOW, wake_at=NOW
        )
    assert len(record.former_claims) == MAX_CLAIMS_KEPT


async def test_a_rerun_in_a_run_that_breaks_the_contract_says_what_is_broken() -> None:
    documents = EmbeddedDocuments()
    ref = DocumentRef("flow_runs", "my_first_run")
    data = {
        "status": "RUNNING",
        "steps": {STEP: {"stepType": "LLM_REPORT", "status": "FAILED"}},
    }
    await documents.commit([Create(ref=ref, data=data)], timeout_seconds=TIMEOUT)

    with pytest.raises(ActRefused, match="the run's id breaks the contract"):
        await perform(OperatorMove.RERUN, documents, ref, STEP, ACT)
