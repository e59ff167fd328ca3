"""The one commit that ends a step: its outcome on the flow run, and the closing of its job."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from shared.domain.documents import (
    DELETE,
    FieldPath,
    Snapshot,
    Update,
    Version,
    Write,
    value_at,
)
from shared.domain.errors import (
    AttemptsExhausted,
    ErrorCode,
    GeminiRequestFailed,
    RateLimited,
    RunTooLarge,
    StepError,
)
from shared.domain.flow_run import LLM_REPORT, step_field
from shared.domain.identifiers import StepId
from shared.domain.job_documents import update_job
from shared.domain.jobs import JobMove, JobRecord, LastError
from shared.domain.steps import StepMove, StepStatus, advance_step
from shared.domain.times import milliseconds, parse_time, rfc3339

#: The place of the report, below the step.
_PLACE: FieldPath = ("outputs", "gcs_uri")
#: Fields that belong to an ending. Those that this ending does not set are deleted, so that
#: nothing of a former claim remains.
_OF_AN_END: tuple[FieldPath, ...] = (
    ("error",),
    _PLACE,
    ("outputs", "execution", "llm"),
    ("outputs", "execution", "reused"),
    ("outputs", "execution", "artifact"),
    ("outputs", "execution", "accounting"),
)


def ending_writes(
    *,
    error: StepError | None,
    run: Snapshot,
    job: JobRecord,
    job_version: Version,
    now: datetime,
    keep_for: timedelta,
    outputs: Mapping[FieldPath, Any] | None = None,
) -> tuple[Write, ...]:
    """The step SUCCEEDED, or FAILED with the error, and its job closed: all or nothing.

    Both documents are guarded by the versions given, so the caller has checked on these very
    versions that the step is RUNNING under the job's claim and that the job is its own.

    Args:
        error: what the step failed with; None when it succeeded.
        run: the flow run, whose step is RUNNING.
        job: the record as it stands, not yet closed.
        job_version: the version in which it is stored.
        now: the end of the step.
        keep_for: how long the closed record is kept.
        outputs: more fields of the step, by their paths below the step.
    """
    closed = _closed(job, error, now, keep_for)
    changes = _step_changes(error, run.data, job, now, outputs or {})
    return (
        Update(ref=run.ref, changes=changes, guard=run.version),
        update_job(closed, job_version),
    )


def smaller_endings(
    *,
    error: StepError | None,
    run: Snapshot,
    job: JobRecord,
    job_version: Version,
    now: datetime,
    keep_for: timedelta,
    outputs: Mapping[FieldPath, Any] | None = None,
) -> tuple[tuple[Write, ...], ...]:
    """What to commit instead where the run has no room for `ending_writes`, in this order.

    The first says the outcome and no more, in place of what the claim wrote. The last leaves
    the run as it is and closes the job, which says why.
    """
    changes: dict[FieldPath, Any] = {
        **smallest_ending(run.data, job.step_id, error),
        step_field(job.step_id, "outputs", "execution"): DELETE,
    }
    place = (outputs or {}).get(_PLACE)
    if place is not None:
        changes[step_field(job.step_id, *_PLACE)] = place
    said = Update(ref=run.ref, changes=changes, guard=run.version)
    closed = _closed(job, error, now, keep_for)
    where = f"; the report is stored at {place}" if place else ""
    full = RunTooLarge(f"the run document has no room for the outcome{where}")
    return (
        (said, update_job(closed, job_version)),
        (update_job(_closed(job, full, now, keep_for), job_version),),
    )


def smallest_ending(
    run: Mapping[str, Any], step_id: StepId, error: StepError | None, *, message: str = ""
) -> dict[FieldPath, Any]:
    """The fewest bytes that end a step, as the changes of its run."""
    status = advance_step(StepStatus.RUNNING, StepMove.FAIL if error else StepMove.SUCCEED)
    changes: dict[FieldPath, Any] = {step_field(step_id, "status"): str(status)}
    former = (step_field(step_id, *path) for path in (("error",), _PLACE))
    changes |= {path: DELETE for path in former if value_at(run, path)}
    if error is not None:
        said = {"code": str(error.code), "message": message}
        changes[step_field(step_id, "error")] = said
    return changes


def _closed(
    job: JobRecord, error: StepError | None, now: datetime, keep_for: timedelta
) -> JobRecord:
    return job.close(
        JobMove.FAIL if error else JobMove.SUCCEED,
        now=now,
        keep_for=keep_for,
        error=last_error(error) if error else None,
    )


def _step_changes(
    error: StepError | None,
    run: Mapping[str, Any],
    job: JobRecord,
    now: datetime,
    outputs: Mapping[FieldPath, Any],
) -> dict[FieldPath, Any]:
    step_id = job.step_id
    started_at = step_started_at(run, job)
    status = advance_step(StepStatus.RUNNING, StepMove.FAIL if error else StepMove.SUCCEED)
    changes: dict[FieldPath, Any] = {
        step_field(step_id, "status"): str(status),
        step_field(step_id, "finishedAt"): rfc3339(now),
        step_field(step_id, "outputs", "execution", "timing"): {
            "startedAt": rfc3339(started_at),
            "finishedAt": rfc3339(now),
            "durationMs": milliseconds(now - started_at),
        },
        **{step_field(step_id, *path): value for path, value in outputs.items()},
    }
    if error:
        changes[step_field(step_id, "error")] = error.as_document()
    former = (step_field(step_id, *path) for path in _OF_AN_END)
    return changes | {
        path: DELETE for path in former if path not in changes and value_at(run, path)
    }


def exhausted(job: JobRecord) -> AttemptsExhausted:
    """The error of a job all of whose attempts died."""
    last = job.last_error
    return AttemptsExhausted(
        f"{job.attempt} attempts began and none ended",
        details={"lastCode": last.code, "lastMessage": last.message} if last else None,
    )


def patience_over(job: JobRecord, now: datetime) -> StepError:
    """The error of a job that waited for room at the provider as long as it may."""
    last, waiting = job.last_error, job.waiting
    waited = now - (waiting.since if waiting else job.claimed_at)
    kind = (
        GeminiRequestFailed
        if last and last.code == ErrorCode.GEMINI_REQUEST_FAILED
        else RateLimited
    )
    said = last.message if last else "other calls came first"
    return kind(
        f"no room at the provider for {round(waited.total_seconds())} s: {said}",
        details={
            "refusals": job.refusals,
            "waitedSeconds": round(waited.total_seconds()),
            **({"waitedUntil": rfc3339(waiting.until)} if waiting else {}),
        },
    )


def last_error(error: StepError) -> LastError:
    """The error as the job record keeps it."""
    return LastError(code=str(error.code), message=error.message)


def step_started_at(run: Mapping[str, Any], job: JobRecord) -> datetime:
    """When the claim started the step; its writer was the dispatcher."""
    path = step_field(job.step_id, "outputs", "execution", "timing", "startedAt")
    return parse_time(value_at(run, path)) or job.claimed_at


def step_status(run: Mapping[str, Any], step_id: StepId) -> object:
    """The step's status, whatever the document holds there; None without such a step."""
    return value_at(run, step_field(step_id, "status"))


def is_at_work(run: Mapping[str, Any], step_id: StepId) -> bool:
    """Whether the step is RUNNING, as a claim of this worker left it, and still its own.

    Others may have ended it, removed it, or made another worker's step of it.
    """
    step_type = value_at(run, step_field(step_id, "stepType"))
    running = step_status(run, step_id) == StepStatus.RUNNING
    return running and (step_type is None or step_type == LLM_REPORT)
