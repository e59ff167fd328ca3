"""How work on a job ends, and the commit that says so: pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from executor.accounting import accounting
from executor.ports import ModelAnswer
from executor.prices import NO_PRICES, PriceTable
from shared.domain.artifacts import CONTENT_TYPE, GcsUri
from shared.domain.documents import FieldPath, Snapshot, Version, Write
from shared.domain.errors import StepError
from shared.domain.finalize import ending_writes
from shared.domain.jobs import JobRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredReport:
    """A report that stands at the step's place."""

    uri: GcsUri
    sha256: str | None
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded:
    """The report stands; without an answer, it stood there before and cost no call."""

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


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The instance is being stopped: the job goes back for the next delivery."""


def finalize_writes(
    *,
    outcome: Outcome,
    run: Snapshot,
    job: JobRecord,
    job_version: Version,
    now: datetime,
    keep_for: timedelta,
    prices: PriceTable = NO_PRICES,
) -> tuple[Write, ...]:
    """One commit: the step's outcome, and the closing of its job; see `ending_writes`."""
    outputs: dict[FieldPath, Any] = {}
    if outcome.answer is not None:
        outputs[_execution("llm")] = _llm(outcome.answer, job.llm_calls)
    taken = accounting(job, prices)
    if taken is not None:
        outputs[_execution("accounting")] = taken
    if isinstance(outcome, Succeeded):
        outputs.update(_success(outcome))
    return ending_writes(
        error=outcome.error if isinstance(outcome, Failed) else None,
        run=run,
        job=job,
        job_version=job_version,
        now=now,
        keep_for=keep_for,
        outputs=outputs,
    )


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
        }
    )


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _execution(name: str) -> FieldPath:
    return ("outputs", "execution", name)
