"""The part of a flow run that both stages read: what its steps are and how they stand.

The worker depends on the fields parsed here and in `report_inputs`; all others are the
orchestrator's, tolerated whatever they hold.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, TypeVar

from shared.domain.documents import FieldPath
from shared.domain.errors import FlowRunInvalid
from shared.domain.identifiers import MAX_RUN_ID_BYTES, RunId, StepId, is_run_id, is_step_id
from shared.domain.steps import StepStatus

#: The one step type that this worker executes.
LLM_REPORT = "LLM_REPORT"
#: So much of a label tells one run from another; the log refuses entries with endless ones.
MAX_LABEL_CHARS = 128

_E = TypeVar("_E", bound=StrEnum)


class RunStatus(StrEnum):
    """The status of a run; the orchestrator owns it."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How one step stands."""

    step_id: StepId
    step_type: str
    status: StepStatus
    timeframe: str | None
    #: None when the field is no list of strings.
    depends_on: tuple[str, ...] | None

    @property
    def ours(self) -> bool:
        """Whether this worker executes the step."""
        return self.step_type == LLM_REPORT


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowRun:
    """How one run stands."""

    run_id: RunId
    status: RunStatus
    flow_key: str | None
    symbol: str
    steps: Mapping[StepId, Step]

    @property
    def labels(self) -> dict[str, str | None]:
        """What log entries say of the run beside its id."""
        key = self.flow_key and self.flow_key[:MAX_LABEL_CHARS]
        return {"flowKey": key, "symbol": self.symbol[:MAX_LABEL_CHARS]}

    def dependency_problem(self, step: Step) -> str | None:
        """Why the step's dependencies can never be satisfied; None when they can."""
        if step.depends_on is None:
            return "dependsOn must be a list of step ids"
        for dependency in step.depends_on:
            if dependency == step.step_id:
                return "dependsOn names the step itself"
            if dependency not in self.steps:
                return f"dependsOn names an unknown step: {dependency[:64]}"
        return None

    def dependencies_succeeded(self, step: Step) -> bool:
        """Whether every step that this one depends on has SUCCEEDED; SKIPPED does not count."""
        return step.depends_on is not None and all(
            dependency in self.steps
            and self.steps[StepId(dependency)].status is StepStatus.SUCCEEDED
            for dependency in step.depends_on
        )


def step_field(step_id: StepId, *path: str) -> FieldPath:
    """The path of a field of a step."""
    return ("steps", step_id, *path)


def parse_flow_run(document_id: str, data: Mapping[str, Any]) -> FlowRun:
    """The run in a document.

    Raises:
        FlowRunInvalid: naming the field that is wrong and what it must be.
    """
    head = parse_run_head(document_id, data)
    steps = {StepId(name): _parse_step(name, step) for name, step in data["steps"].items()}
    return replace(head, steps=steps)


def parse_run_head(document_id: str, data: Mapping[str, Any]) -> FlowRun:
    """The run in a document, its steps not looked into: there are none in what is returned.

    Raises:
        FlowRunInvalid: naming the field that is wrong and what it must be.
    """
    if not is_run_id(document_id):
        raise FlowRunInvalid(
            "the document id is no run id (YYYYMMDD-HHmmss_SYMBOL_suffix, "
            f"at most {MAX_RUN_ID_BYTES} bytes)"
        )
    if data.get("runId", document_id) != document_id:
        raise FlowRunInvalid("runId must equal the document id")
    status = _member(RunStatus, data.get("status"), "status")
    steps = data.get("steps")
    if not isinstance(steps, Mapping):
        raise FlowRunInvalid("steps must be a map of step id to step")
    if not all(map(is_step_id, steps)):
        raise FlowRunInvalid(
            "steps holds an id that is empty, too long, or has . / or a control"
        )
    run_id = RunId(document_id)
    flow_key = data.get("flowKey")
    return FlowRun(
        run_id=run_id,
        status=status,
        flow_key=flow_key if isinstance(flow_key, str) else None,
        symbol=_symbol(run_id, data.get("scope")),
        steps={},
    )


def _parse_step(name: str, step: object) -> Step:
    if not isinstance(step, Mapping):
        raise FlowRunInvalid(f"steps.{name[:64]} must be a map")
    step_type, timeframe = step.get("stepType"), step.get("timeframe")
    if not isinstance(step_type, str):
        raise FlowRunInvalid(f"steps.{name[:64]}.stepType must be a string")
    return Step(
        step_id=StepId(name),
        step_type=step_type,
        status=_member(StepStatus, step.get("status"), f"steps.{name[:64]}.status"),
        timeframe=timeframe if isinstance(timeframe, str) else None,
        depends_on=_strings(step.get("dependsOn")),
    )


def _member(enum: type[_E], value: object, path: str) -> _E:
    try:
        return enum(value)  # type: ignore[arg-type]
    except ValueError:
        raise FlowRunInvalid(f"{path} must be one of {', '.join(enum)}") from None


def _strings(value: object) -> tuple[str, ...] | None:
    if value is None:
        return ()
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    return None


def _symbol(run_id: RunId, scope: object) -> str:
    symbol = scope.get("symbol") if isinstance(scope, Mapping) else None
    # The run id carries the symbol too: YYYYMMDD-HHmmss_<SYMBOL>_<suffix>.
    return symbol if isinstance(symbol, str) and symbol else run_id.split("_")[1]
