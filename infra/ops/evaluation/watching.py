"""Watching a canary: the steps of two prompts as they end, compared at every look."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from infra.ops.comparison.sequential import Arm, Comparison, Decision, compare
from infra.ops.environment.connection import Connection
from infra.ops.environment.stored_documents import at, map_at, maps_at, text_at
from infra.ops.evaluation.cases.case import MODEL_FAILURES
from infra.ops.evaluation.cases.environment_past import CaseSelection, past_runs
from infra.ops.evaluation.cases.folder_past import report_steps
from infra.ops.runs.reading import CALL_SECONDS
from shared.domain.attempts import CallPurpose
from shared.domain.identifiers import RunId, StepId
from shared.domain.job_documents import job_ref
from shared.domain.steps import StepStatus

_READ_TOGETHER = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """A prompt on trial beside the one in use."""

    control: str
    canary: str
    since: datetime | None
    #: A loss of so much of the share of good steps is taken for equal.
    margin: float
    #: Of a wrong decision, over all looks together.
    error_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryLook:
    """What the steps say so far."""

    control: Arm
    canary: Arm
    comparison: Comparison

    @property
    def decision(self) -> Decision:
        """What to do."""
        return self.comparison.decision


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedStep:
    """A report step that the model had its say in."""

    run_id: str
    step_id: str
    prompt_id: str
    succeeded: bool


async def look_at(connection: Connection, canary: Canary) -> CanaryLook:
    """Compare the two prompts' steps that have ended by now; nothing is written.

    A step is good whose first answer satisfied the schema.

    Raises:
        StoreUnavailable: Firestore did not answer.
    """
    runs = await past_runs(connection, CaseSelection(since=canary.since))
    steps = [
        step for step in ended_steps(runs) if step.prompt_id in {canary.control, canary.canary}
    ]
    repaired = await _repaired(connection, steps)
    arms = {canary.control: Arm(), canary.canary: Arm()}
    for step in steps:
        good = step.succeeded and (step.run_id, step.step_id) not in repaired
        arm = arms[step.prompt_id]
        arms[step.prompt_id] = replace(arm, good=arm.good + good, ended=arm.ended + 1)
    control, other = arms[canary.control], arms[canary.canary]
    return CanaryLook(
        control=control,
        canary=other,
        comparison=compare(control, other, margin=canary.margin, error_rate=canary.error_rate),
    )


def ended_steps(runs: Mapping[str, Mapping[str, Any]]) -> Iterator[EndedStep]:
    """The steps that succeeded, or failed by the model's own doing. Pure."""
    for run_id, run in runs.items():
        for step_id in report_steps(run):
            step = map_at(run, "steps", step_id)
            succeeded = at(step, "status") == StepStatus.SUCCEEDED
            if succeeded or text_at(step, "error", "code") in MODEL_FAILURES:
                yield EndedStep(
                    run_id=run_id,
                    step_id=step_id,
                    prompt_id=text_at(step, "inputs", "llm", "promptId") or "",
                    succeeded=succeeded,
                )


async def _repaired(connection: Connection, steps: Sequence[EndedStep]) -> set[tuple[str, str]]:
    """The steps whose job record knows of a repair."""
    found: set[tuple[str, str]] = set()
    for start in range(0, len(steps), _READ_TOGETHER):
        some = steps[start : start + _READ_TOGETHER]
        refs = [job_ref(RunId(step.run_id), StepId(step.step_id)) for step in some]
        jobs = await connection.documents.read(refs, timeout_seconds=CALL_SECONDS)
        found.update(
            (step.run_id, step.step_id)
            for step, job in zip(some, jobs, strict=True)
            if job is not None and _has_repair(job.data)
        )
    return found


def _has_repair(job: Mapping[str, Any]) -> bool:
    return any(
        text_at(call, "purpose") == CallPurpose.REPAIR
        for attempt in maps_at(job, "history")
        for call in maps_at(attempt, "calls")
    )
