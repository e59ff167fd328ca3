"""What a change of a run asks the dispatcher to do: pure decisions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from shared.domain.documents import (
    DocumentRef,
    FieldPath,
    Snapshot,
    Update,
    Version,
    Write,
)
from shared.domain.flow_run import FlowRun, RunStatus, Step, step_field
from shared.domain.identifiers import (
    ClaimId,
    PromptId,
    RunId,
    SchemaId,
    StepId,
    is_prompt_id,
    is_schema_id,
)
from shared.domain.job_documents import (
    JobRecordInvalid,
    create_job,
    parse_job_record,
    update_job,
)
from shared.domain.jobs import JobRecord, JobState
from shared.domain.messages import JobMessage
from shared.domain.steps import StepMove, StepStatus, advance_step
from shared.domain.times import rfc3339
from shared.domain.waiting import model_of

#: While a claim is younger, the delivery that made it is believed to be publishing still:
#: Eventarc gives one delivery 10 seconds to be acknowledged.
PUBLISH_GRACE = timedelta(seconds=10)


class Noop(StrEnum):
    """Why an event asks for nothing; the values are part of the log's contract."""

    NO_READY_STEP = "no_ready_step"
    DEPENDENCY_NOT_SUCCEEDED = "dependency_not_succeeded"
    CLAIM_CONFLICT = "claim_conflict"
    ALREADY_FINAL = "already_final"
    WORKER_OWNED_CHANGE = "worker_owned_change"


def executable_steps(run: FlowRun) -> tuple[StepId, ...]:
    """The steps to claim now, in order of their ids.

    A step whose dependencies can never be satisfied is claimed too: the executor ends it
    with a clear error, where it would otherwise wait for ever.
    """
    if run.status is not RunStatus.RUNNING:
        return ()
    return tuple(
        sorted(step_id for step_id, step in run.steps.items() if _executable(run, step))
    )


def _executable(run: FlowRun, step: Step) -> bool:
    if not step.ours or step.status is not StepStatus.READY:
        return False
    return run.dependency_problem(step) is not None or run.dependencies_succeeded(step)


def reason_for_nothing(run: FlowRun) -> Noop:
    """Why a run without an executable step has none."""
    if run.status not in {RunStatus.RUNNING, RunStatus.PENDING}:
        return Noop.ALREADY_FINAL
    ready = any(step.ours and step.status is StepStatus.READY for step in run.steps.values())
    waiting = ready and run.status is RunStatus.RUNNING
    return Noop.DEPENDENCY_NOT_SUCCEEDED if waiting else Noop.NO_READY_STEP


def is_worker_owned(old: FlowRun | None, new: FlowRun) -> bool:
    """Whether the change is one of our own writes and makes no further step executable.

    Our claim moves LLM_REPORT steps READY → RUNNING, our finalize moves one RUNNING →
    SUCCEEDED or FAILED; nothing else that is decoded differs.
    """
    if old is None or old.status is not new.status or old.steps.keys() != new.steps.keys():
        return False
    changed = [
        (old.steps[name], step) for name, step in new.steps.items() if old.steps[name] != step
    ]
    if not changed or not all(_our_move(before, after) for before, after in changed):
        return False
    return set(executable_steps(new)) <= set(executable_steps(old))


_OUR_MOVES = {
    (StepStatus.READY, StepStatus.RUNNING),
    (StepStatus.RUNNING, StepStatus.SUCCEEDED),
    (StepStatus.RUNNING, StepStatus.FAILED),
    # A step for which the run has no room.
    (StepStatus.READY, StepStatus.FAILED),
}


def _our_move(before: Step, after: Step) -> bool:
    return (
        after.ours
        and (before.status, after.status) in _OUR_MOVES
        and before.step_type == after.step_type
        and before.depends_on == after.depends_on
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One commit that claims steps of a run, and the jobs to publish after it."""

    writes: tuple[Write, ...]
    jobs: tuple[JobMessage, ...]


def plan_claim(
    *,
    run: FlowRun,
    steps: Sequence[StepId],
    run_ref: DocumentRef,
    data: Mapping[str, Any],
    guard: Version,
    stored_jobs: Mapping[StepId, Snapshot],
    claim_id: ClaimId,
    event_id: str,
    now: datetime,
    queued_for: timedelta,
) -> Claim:
    """Claim these executable steps of the run, together with their job records.

    A step that the orchestrator made READY again has a record of its former claim: that
    record starts over, which fences off an executor that still works under the former claim.
    A job that is still queued after `queued_for` is published again by the sweep.
    """
    changes: dict[FieldPath, Any] = {}
    records: list[Write] = []
    jobs: list[JobMessage] = []
    for step_id in steps:
        status = advance_step(run.steps[step_id].status, StepMove.CLAIM)
        changes[step_field(step_id, "status")] = str(status)
        timing = step_field(step_id, "outputs", "execution", "timing")
        changes[timing] = {"startedAt": rfc3339(now)}
        stored = stored_jobs.get(step_id)
        cost = _cost(data["steps"].get(step_id))
        record = _claimed(
            run.run_id, step_id, stored, claim_id, event_id, now, now + queued_for, cost
        )
        records.append(update_job(record, stored.version) if stored else create_job(record))
        jobs.append(job_message(record, data))
    return Claim(
        writes=(Update(ref=run_ref, changes=changes, guard=guard), *records), jobs=tuple(jobs)
    )


def _claimed(
    run_id: RunId,
    step_id: StepId,
    stored: Snapshot | None,
    claim_id: ClaimId,
    event_id: str,
    now: datetime,
    wake_at: datetime,
    cost_usd: float | None,
) -> JobRecord:
    former = readable_job(stored)
    if former is not None:
        return former.claimed_again(
            claim_id=claim_id,
            event_id=event_id,
            now=now,
            wake_at=wake_at,
            cost_usd=cost_usd,
        )
    return JobRecord(
        run_id=run_id,
        step_id=step_id,
        claim_id=claim_id,
        event_id=event_id,
        claimed_at=now,
        state=JobState.QUEUED,
        wake_at=wake_at,
    )


def _cost(step: object) -> float | None:
    """What the step's former claim cost: its accounting stands until the next end."""
    cost = _at(step, "outputs", "execution", "accounting", "costUsd")
    return float(cost) if isinstance(cost, int | float) and cost >= 0 else None


def readable_job(snapshot: Snapshot | None) -> JobRecord | None:
    """The stored record; None without one, or for one that this worker did not write."""
    try:
        return parse_job_record(snapshot.data) if snapshot else None
    except JobRecordInvalid:
        return None


def job_message(record: JobRecord, data: Mapping[str, Any]) -> JobMessage:
    """The message that wakes an executor for this job."""
    prompt_id, schema_id = _hints(data["steps"].get(record.step_id))
    model_name = model_of(data, record.step_id)
    return JobMessage(
        run_id=record.run_id,
        step_id=record.step_id,
        claim_id=record.claim_id,
        prompt_id=prompt_id,
        schema_id=schema_id,
        model_name=model_name,
    )


def _hints(step: object) -> tuple[PromptId | None, SchemaId | None]:
    llm = _at(step, "inputs", "llm")
    prompt_id = _at(llm, "promptId")
    schema_id = _at(llm, "llmProfile", "structuredOutput", "schemaId")
    return (
        prompt_id if is_prompt_id(prompt_id) else None,
        schema_id if is_schema_id(schema_id) else None,
    )


def _at(value: object, *path: str) -> object:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def jobs_to_publish(
    snapshots: Sequence[Snapshot],
    data: Mapping[str, Any],
    *,
    claim_id: ClaimId,
    event_id: str,
    now: datetime,
) -> tuple[JobMessage, ...]:
    """The jobs to publish after a claim whose commit was refused or got no answer.

    These are the jobs of this delivery, if its commit was applied and only the answer was lost,
    and those that an earlier delivery of this event claimed before it died.
    """
    return tuple(
        job_message(record, data)
        for record in _queued(snapshots, event_id)
        if record.claim_id == claim_id or now - record.claimed_at >= PUBLISH_GRACE
    )


def published_elsewhere(
    snapshots: Sequence[Snapshot], *, claim_id: ClaimId, event_id: str, now: datetime
) -> bool:
    """Whether another delivery of this event may be publishing jobs right now.

    That delivery may also have died: this one must be delivered again, to look once more.
    """
    return any(
        record.claim_id != claim_id
        and not record.attempt
        and now - record.claimed_at < PUBLISH_GRACE
        for record in _queued(snapshots, event_id)
    )


def _queued(snapshots: Sequence[Snapshot], event_id: str) -> Sequence[JobRecord]:
    """The jobs claimed for this event whose message nobody has taken up."""
    records = [readable_job(snapshot) for snapshot in snapshots]
    return [
        record
        for record in records
        if record is not None
        and record.state is JobState.QUEUED
        and record.event_id == event_id
    ]
