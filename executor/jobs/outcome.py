"""How work on a job ends, and the commit that says so: pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias, TypedDict

from executor.contract.artifacts import CONTENT_TYPE, GcsUri
from executor.ports import ModelAnswer
from shared.domain.documents import FieldPath, Snapshot, Version, Write
from shared.domain.errors import StepError
from shared.domain.finalize import ending_writes, smaller_endings
from shared.domain.jobs import JobRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReport:
    """A report that stands at the step's place."""

    uri: GcsUri
    sha256: str | None
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded:
    """The report is stored; without an answer, a former attempt stored it."""

    report: StoredReport
    answer: ModelAnswer | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The step ends with this error."""

    error: StepError
    answer: ModelAnswer | None = None


Outcome: TypeAlias = Succeeded | Failed


@dataclass(frozen=True, slots=True)
class Pending:
    """The model is still at work in the background: the job goes back until it has answered."""

    #: When somebody should look for the answer.
    look_at: datetime


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The instance is being stopped: the job goes back for the next delivery."""


class AnswerPending(Exception):
    """The model is still at work: nobody waits for it, and a later invocation looks again."""

    def __init__(self, look_at: datetime) -> None:
        super().__init__(look_at)
        self.look_at = look_at


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerLost:
    """The answer to a call in the background will never be there."""

    error: StepError
    #: Whether the model has stopped; None where the provider knows no such call any more.
    ended: bool | None


#: What a call in the background has come to.
CallEnd: TypeAlias = ModelAnswer | AnswerLost


class WorkFailed(Exception):
    """The work ended with an error; keeps the answer that was paid for, if there was one."""

    def __init__(self, error: StepError, answer: ModelAnswer | None) -> None:
        super().__init__(str(error.code))
        self.error = error
        self.answer = answer


def finalize_forms(
    *,
    outcome: Outcome,
    run: Snapshot,
    job: JobRecord,
    job_version: Version,
    now: datetime,
    keep_for: timedelta,
    accounting: Mapping[str, Any] | None = None,
) -> tuple[tuple[Write, ...], ...]:
    """The commits that say the step's outcome and close its job, the fullest first.

    Each further one is for a run that has no room for the one before; see `ending_writes`
    and `smaller_endings`.
    """
    outputs: dict[FieldPath, Any] = {}
    if outcome.answer is not None:
        outputs[_execution("llm")] = _llm(outcome.answer, job.llm_calls)
    if accounting is not None:
        outputs[_execution("accounting")] = accounting
    if isinstance(outcome, Succeeded):
        outputs.update(_success(outcome))
    facts: _EndingFacts = {
        "error": outcome.error if isinstance(outcome, Failed) else None,
        "run": run,
        "job": job,
        "job_version": job_version,
        "now": now,
        "keep_for": keep_for,
        "outputs": outputs,
    }
    return (ending_writes(**facts), *smaller_endings(**facts))


class _EndingFacts(TypedDict):
    error: StepError | None
    run: Snapshot
    job: JobRecord
    job_version: Version
    now: datetime
    keep_for: timedelta
    outputs: Mapping[FieldPath, Any]


def _success(outcome: Succeeded) -> dict[FieldPath, Any]:
    report = outcome.report
    artifact = {
        "contentType": CONTENT_TYPE,
        "sha256": report.sha256,
        "bytes": report.size_bytes,
    }
    outputs: dict[FieldPath, Any] = {
        ("outputs", "gcs_uri"): str(report.uri),
        _execution("artifact"): _present(artifact),
    }
    if outcome.answer is None:
        outputs[_execution("reused")] = True
    return outputs


def _llm(answer: ModelAnswer, calls: int) -> dict[str, Any]:
    return _present(
        {
            "finishReason": answer.finish_reason,
            "modelVersion": answer.model_version,
            "usageMetadata": answer.usage,
            "requestId": answer.response_id,
            "attempts": {"total": calls},
            "safety": list(answer.safety) or None,
            "serviceTier": answer.service_tier,
            "fenceRemoved": answer.fence_removed or None,
        }
    )


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _execution(name: str) -> FieldPath:
    return ("outputs", "execution", name)
