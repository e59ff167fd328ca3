"""What a cell's execution came to: read from the records that the deployed code writes."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.ops.environment.stored_documents import (
    integer_at,
    map_at,
    maps_at,
    number_at,
    text_at,
)
from infra.ops.evaluation.cases.case import MODEL_FAILURES
from shared.domain.attempts import CallPurpose

#: What the model wrote, thought, and counted without showing it.
_OUTPUT = ("output", "thought", "unseen")


@dataclass(frozen=True, slots=True, kw_only=True)
class CellAnswer:
    """How one variant answered one case."""

    error_code: str | None
    error_message: str | None
    #: The model-owned part of the report; None of a failure.
    output: Mapping[str, Any] | None
    #: Whether the first answer had to be repaired; None where that is not known any more.
    repaired: bool | None
    calls: int
    tokens_in: int | None
    #: Thoughts included.
    tokens_out: int | None
    cost_usd: float | None
    latency_ms: int | None
    model_versions: Sequence[str]

    @property
    def told(self) -> bool:
        """Whether the model answered: with a report, or with a failure of its own making."""
        return self.error_code is None or self.error_code in MODEL_FAILURES


def answer_of(
    execution: Mapping[str, Any],
    job: Mapping[str, Any] | None,
    report: bytes | None,
    error: Mapping[str, Any] | None,
) -> CellAnswer:
    """The answer in a step's `outputs.execution`, its job record, its report and its error."""
    accounting = map_at(execution, "accounting")
    tokens = map_at(accounting, "tokens")
    calls = integer_at(accounting, "calls") or 0
    return CellAnswer(
        error_code=text_at(error, "code"),
        error_message=text_at(error, "message"),
        output=_output(report),
        repaired=_repaired(job, calls),
        calls=calls,
        tokens_in=integer_at(tokens, "input"),
        tokens_out=_sum(*(integer_at(tokens, each) for each in _OUTPUT)),
        cost_usd=number_at(accounting, "costUsd"),
        latency_ms=integer_at(accounting, "latencyMs"),
        model_versions=[str(each) for each in accounting.get("modelVersions", ())],
    )


def _repaired(job: Mapping[str, Any] | None, calls: int) -> bool | None:
    if job is not None:
        purposes = [
            text_at(call, "purpose")
            for attempt in maps_at(job, "history")
            for call in maps_at(attempt, "calls")
        ]
        return CallPurpose.REPAIR in purposes
    return False if calls == 1 else None


def _output(report: bytes | None) -> Mapping[str, Any] | None:
    try:
        return map_at(json.loads(report), "output") if report is not None else None
    except (ValueError, RecursionError):
        return None


def _sum(*numbers: int | None) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None
