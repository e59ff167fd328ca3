"""What an operator does to a step: cancel it, have it run again, or acknowledge its failure.

Each act is one guarded commit of the run and the job record, which remembers who did it, when,
why and with what claim in view. Beside a worker or another operator who writes at the same
time, one of the two is first and the other sees that.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from random import Random
from typing import Any, TypeAlias, assert_never

from infra.failures import CannotBeDone
from infra.ops.runs.contract import contract_problem
from infra.ops.runs.reading import CALL_SECONDS, NotFound
from shared.domain.attempts import OperatorAct
from shared.domain.documents import DELETE, DocumentRef, FieldPath, Snapshot, Update, Write
from shared.domain.flow_run import FlowRun, RunStatus, Step, parse_flow_run, step_field
from shared.domain.identifiers import RunId, StepId
from shared.domain.job_documents import JobRecordInvalid, job_ref, parse_job_record, update_job
from shared.domain.jobs import JobMove, JobRecord
from shared.domain.steps import IllegalMove, OperatorMove, StepStatus, operate_step
from shared.domain.times import rfc3339
from shared.guarded import Backoff, Done, Tries, guarded
from shared.ports import Conflict, DocumentStore, StoreUnavailable
from shared.settings import KEEP_CLOSED_JOBS

#: Every further try answers a write that came in between.
TRIES = Tries(limit=10, backoff=Backoff(first_seconds=0.05, longest_seconds=1.0))
MAX_REASON_CHARS = 500


class Note(StrEnum):
    """What an operator says of a step without moving it."""

    ACKNOWLEDGE = "acknowledge"


Act: TypeAlias = OperatorMove | Note


class ActRefused(CannotBeDone):
    """The step's state does not allow the act; the message says why, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecords:
    """A step's run and job record, read at one moment."""

    run: Snapshot
    step_id: StepId
    job: Snapshot | None


def plan_act(
    move: Act,
    records: StepRecords,
    act: OperatorAct,
    *,
    keep_for: timedelta = KEEP_CLOSED_JOBS,
) -> tuple[Write, ...]:
    """The one commit of the act.

    Raises:
        NotFound: the run has no such step.
        ActRefused: the state of run, step or job does not allow it, or is not the one that
            the act's author saw.
    """
    run, step = _step(records)
    job = _job(records.job) if records.job else None
    if job and act.claim_id is not None and act.claim_id != job.claim_id:
        raise ActRefused(
            f"the step was claimed again at {rfc3339(job.claimed_at)}, after you looked at it"
            f"{_who_was_first(job)}: look at it again"
        )
    status = _status_after(move, step, job)
    if job is None or records.job is None:
        raise ActRefused(
            f"the step is {step.status}, but this worker has no record of it (it never claimed "
            "it, or closed the record long ago): have the orchestrator set its status"
        )
    if run.status is not RunStatus.RUNNING and move is OperatorMove.RERUN:
        raise ActRefused(
            f"the run is {run.status}, and steps run only in a RUNNING one: have the "
            "orchestrator reopen the run, or start a new one"
        )
    changes: dict[FieldPath, Any] = {step_field(step.step_id, "status"): str(status)}
    job = job.with_act(act)
    match move:
        case OperatorMove.CANCEL:
            changes[step_field(step.step_id, "finishedAt")] = rfc3339(act.at)
            job = _abandoned(job, act, keep_for)
        case OperatorMove.RERUN:
            changes |= {step_field(step.step_id, name): DELETE for name in _OF_THE_END}
        case Note.ACKNOWLEDGE:
            # The run is not changed: operators put no marks where its orchestrator reads.
            return (update_job(replace(job, acknowledged=True), records.job.version),)
        case _:
            assert_never(move)
    return (
        Update(ref=records.run.ref, changes=changes, guard=records.run.version),
        update_job(job, records.job.version),
    )


def _status_after(move: Act, step: Step, job: JobRecord | None) -> StepStatus:
    if isinstance(move, Note):
        if step.status is StepStatus.FAILED:
            return step.status
        raise ActRefused(f"only a FAILED step is acknowledged, and this one is {step.status}")
    try:
        return operate_step(step.status, move)
    except IllegalMove as problem:
        first = _who_was_first(job) if job else ""
        raise ActRefused(f"{problem}; {_remedy(step.status, move)}{first}") from None


def _who_was_first(job: JobRecord) -> str:
    """The last act that moved the step, for an operator who was too late."""
    moves = [act for act in job.operator_acts if act.act in set(OperatorMove)]
    if not moves:
        return ""
    last = moves[-1]
    return f" ({last.by or 'somebody'} did a {last.act} at {rfc3339(last.at)})"


def _job(stored: Snapshot) -> JobRecord:
    try:
        return parse_job_record(stored.data)
    except JobRecordInvalid as problem:
        raise ActRefused(f"the job record is none that this worker wrote: {problem}") from None


#: Fields that a step has only because it ended.
_OF_THE_END = ("error", "finishedAt")


def _abandoned(job: JobRecord, act: OperatorAct, keep_for: timedelta) -> JobRecord:
    """The closed record: a holder of the lease finds it taken away, and stops."""
    if job.closed:
        return job
    return job.close(JobMove.ABANDON, now=act.at, keep_for=keep_for)


def _step(records: StepRecords) -> tuple[FlowRun, Step]:
    run_id, data = records.run.ref.document_id, records.run.data
    problem = contract_problem(run_id, data)
    if problem is not None:
        raise ActRefused(problem)
    run = parse_flow_run(run_id, data)
    step = run.steps.get(records.step_id)
    if step is None:
        known = ", ".join(name for name, step in sorted(run.steps.items()) if step.ours)
        raise NotFound(
            f"run {run.run_id} has no step {records.step_id!r}; its report steps: {known}"
        )
    if not step.ours:
        raise ActRefused(f"a {step.step_type} step is not this worker's")
    return run, step


_REMEDIES: Mapping[OperatorMove, Mapping[StepStatus, str]] = {
    OperatorMove.CANCEL: {
        StepStatus.READY: "it is claimed as soon as its dependencies allow; until then it is "
        "the orchestrator's",
        StepStatus.PENDING: "until it is claimed it is the orchestrator's",
    },
    OperatorMove.RERUN: {
        StepStatus.RUNNING: "cancel it first, if it must not go on",
        StepStatus.READY: "it is about to run",
        StepStatus.PENDING: "the orchestrator has it run",
        StepStatus.SUCCEEDED: "its report stands and is never replaced: start a new run",
        StepStatus.SKIPPED: "the orchestrator skipped it",
    },
}


def _remedy(status: StepStatus, move: OperatorMove) -> str:
    return _REMEDIES[move].get(status, "it has ended")


async def perform(
    move: Act,
    documents: DocumentStore,
    run_ref: DocumentRef,
    step_id: StepId,
    act: OperatorAct,
) -> None:
    """Do it, unless the state does not allow it.

    Raises:
        NotFound: there is no such run or step.
        ActRefused: see `plan_act`, or the run is written too often.
        StoreUnavailable: Firestore did not answer; look at the step, and try again.
    """

    async def commit(records: StepRecords) -> Done[None] | None:
        if records.job and act in _job(records.job).operator_acts:
            return Done(None)  # An earlier try was applied, and only its answer was lost.
        writes = plan_act(move, records, act)
        try:
            await documents.commit(writes, timeout_seconds=CALL_SECONDS)
        except (Conflict, StoreUnavailable):
            return None
        return Done(None)

    async def read_back(_: StepRecords) -> StepRecords:
        return await read_records(documents, run_ref, step_id)

    await guarded(
        await read_records(documents, run_ref, step_id),
        commit=commit,
        read_back=read_back,
        tries=TRIES,
        random=Random(),  # noqa: S311 -- jitter is no secret
        exhausted=lambda: ActRefused(
            f"the step or its run changed during each of {TRIES.limit} tries"
        ),
    )


async def read_records(
    documents: DocumentStore, run_ref: DocumentRef, step_id: StepId
) -> StepRecords:
    """The run and the step's job record.

    Raises:
        NotFound: there is no such run.
        StoreUnavailable: Firestore did not answer.
    """
    refs = [run_ref, job_ref(RunId(run_ref.document_id), step_id)]
    run, job = await documents.read(refs, timeout_seconds=CALL_SECONDS)
    if run is None:
        raise NotFound(f"there is no run {run_ref.document_id!r}")
    return StepRecords(run=run, step_id=step_id, job=job)
