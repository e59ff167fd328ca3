"""How work on a job ends, and the commit that says so: pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from executor.ports import ModelAnswer
from shared.domain.artifacts import CONTENT_TYPE, GcsUri
from shared.domain.documents import DocumentRef, FieldPath, Update, Version, Write
from shared.domain.errors import StepError
from shared.domain.flow_run import step_field
from shared.domain.jobs import JobMove, JobRecord, LastError
from shared.domain.steps import StepMove, StepStatus, advance_step
from shared.domain.times import milliseconds, parse_time, rfc3339


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReport:
    """A report that stands at the step's place."""

    uri: GcsUri
    #: Set when it was there before: the model was not called for it.
    reused: bool
    sha256: str | None
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded:
    """The report stands."""

    report: StoredReport
    answer: ModelAnswer | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The step ends with this error."""

    error: StepError
    answer: ModelAnswer | None = None


Outcome: TypeAlias = Succeeded | Failed


def finalize_writes(
    *,
    outcome: Outcome,
    run_ref: DocumentRef,
    run_version: Version,
    job: JobRecord,
    job_version: Version,
    started_at: datetime,
    now: datetime,
    keep_closed: timedelta,
) -> tuple[Write, ...]:
    """One commit: the step's outcome, and the closing of its job."""
    succeeded = isinstance(outcome, Succeeded)
    step_move = StepMove.SUCCEED if succeeded else StepMove.FAIL
    job_move = JobMove.SUCCEED if succeeded else JobMove.FAIL
    error = None if isinstance(outcome, Succeeded) else last_error(outcome.error)
    closed = job.close(job_move, expire_at=now + keep_closed, error=error)
    status = advance_step(StepStatus.RUNNING, step_move)
    changes: dict[FieldPath, Any] = {
        step_field(job.step_id, "status"): str(status),
        step_field(job.step_id, "finishedAt"): rfc3339(now),
        _execution(job, "timing"): {
            "startedAt": rfc3339(started_at),
            "finishedAt": rfc3339(now),
            "durationMs": milliseconds(now - started_at),
        },
    }
    if outcome.answer is not None:
        changes[_execution(job, "llm")] = _llm(outcome.answer, job.llm_calls)
    if isinstance(outcome, Succeeded):
        changes.update(_success(outcome.report, job))
    else:
        changes[step_field(job.step_id, "error")] = outcome.error.as_document()
    return (Update(ref=run_ref, changes=changes, guard=run_version), closed.update(job_version))


def last_error(error: StepError) -> LastError:
    """The error as the job record keeps it."""
    return LastError(code=str(error.code), message=error.message)


def step_started_at(run: Mapping[str, Any], job: JobRecord) -> datetime:
    """When the claim started the step; its writer was the dispatcher."""
    value: Any = run
    for name in step_field(job.step_id, "outputs", "execution", "timing", "startedAt"):
        value = value.get(name) if isinstance(value, Mapping) else None
    return parse_time(value) or job.claimed_at


def _success(report: StoredReport, job: JobRecord) -> dict[FieldPath, Any]:
    changes: dict[FieldPath, Any] = {
        step_field(job.step_id, "outputs", "gcs_uri"): str(report.uri)
    }
    artifact = {
        "contentType": CONTENT_TYPE,
        "sha256": report.sha256,
        "bytes": report.size_bytes,
    }
    changes[_execution(job, "artifact")] = {
        name: value for name, value in artifact.items() if value is not None
    }
    if report.reused:
        changes[_execution(job, "reused")] = True
    return changes


def _llm(answer: ModelAnswer, calls: int) -> dict[str, Any]:
    fields = {
        "finishReason": answer.finish_reason,
        "modelVersion": answer.model_version,
        "usageMetadata": answer.usage,
        "requestId": answer.response_id,
        "attempts": {"total": calls},
        "safety": list(answer.safety) or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _execution(job: JobRecord, name: str) -> FieldPath:
    return step_field(job.step_id, "outputs", "execution", name)
