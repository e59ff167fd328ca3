"""The `inputs` of an LLM_REPORT step, and the objects that they lead to."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from executor.contract.artifacts import GcsUri, parse_gcs_uri
from executor.contract.validation import describe
from shared.domain.errors import InvalidStepInputs
from shared.domain.flow_run import LLM_REPORT
from shared.domain.identifiers import MAX_REGISTRY_ID_CHARS, PROMPT_ID_PATTERN, StepId
from shared.domain.times import parse_time

#: Far above any real flow; bounds the reads of one step.
MAX_PREVIOUS_REPORTS = 50

_Id = Annotated[str, Field(min_length=1)]


class _Subset(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class PreviousReport(_Subset):
    """A report to give to the model: a step of this run, or any report by its URI."""

    step_id: Annotated[_Id | None, Field(alias="stepId")] = None
    gcs_uri: Annotated[_Id | None, Field(alias="gcs_uri")] = None

    @model_validator(mode="after")
    def _one_at_least(self) -> Self:
        if self.step_id is None and self.gcs_uri is None:
            raise ValueError("give stepId or gcs_uri")
        return self


class LlmInputs(_Subset):
    """Prompt and profile. The profile is parsed by itself: its faults have another code."""

    prompt_id: Annotated[
        str,
        Field(alias="promptId", pattern=PROMPT_ID_PATTERN, max_length=MAX_REGISTRY_ID_CHARS),
    ]
    llm_profile: Annotated[dict[str, Any], Field(alias="llmProfile")]
    due_at: Annotated[str | datetime | None, Field(alias="dueAt")] = None

    @field_validator("due_at")
    @classmethod
    def _is_a_time(cls, value: object) -> object:
        if value is not None and parse_time(value) is None:
            raise ValueError("must be a time of RFC 3339")
        return value


class ReportStepInputs(_Subset):
    """The inputs of an LLM_REPORT step as the orchestrator writes them."""

    llm: LlmInputs
    ohlcv_step_id: Annotated[_Id, Field(alias="ohlcvStepId")]
    charts_manifest_step_id: Annotated[_Id, Field(alias="chartsManifestStepId")]
    previous_report_step_ids: Annotated[
        list[_Id], Field(alias="previousReportStepIds", max_length=MAX_PREVIOUS_REPORTS)
    ] = []
    previous_reports: Annotated[
        list[PreviousReport], Field(alias="previousReports", max_length=MAX_PREVIOUS_REPORTS)
    ] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviousReportSource:
    """Where a previous report lies, and the step it comes from, if of this run."""

    uri: GcsUri
    step_id: StepId | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """The objects that a step's context is read from."""

    ohlcv: GcsUri
    charts_manifest: GcsUri
    previous_reports: tuple[PreviousReportSource, ...]


def parse_report_inputs(step: Mapping[str, Any]) -> ReportStepInputs:
    """The inputs of a step.

    Raises:
        InvalidStepInputs: naming each offending path and what it must be.
    """
    try:
        return ReportStepInputs.model_validate(step.get("inputs"))
    except ValidationError as error:
        raise InvalidStepInputs(describe(error, "inputs")) from None


def resolve_sources(inputs: ReportStepInputs, steps: Mapping[str, Any]) -> Sources:
    """The objects that the inputs lead to, through the outputs of the run's other steps.

    Raises:
        InvalidStepInputs: a named step does not exist or has no usable output.
    """
    by_step = [
        _previous_of_step(step_id, steps, "inputs.previousReportStepIds")
        for step_id in inputs.previous_report_step_ids
    ]
    listed = [_previous_listed(report, steps) for report in inputs.previous_reports]
    return Sources(
        ohlcv=_output(inputs.ohlcv_step_id, steps, "inputs.ohlcvStepId", ("gcs_uri",)),
        charts_manifest=_output(
            inputs.charts_manifest_step_id,
            steps,
            "inputs.chartsManifestStepId",
            ("gcs_uri", "outputsManifestGcsUri"),
        ),
        previous_reports=tuple(by_step + listed),
    )


def _previous_listed(report: PreviousReport, steps: Mapping[str, Any]) -> PreviousReportSource:
    path = "inputs.previousReports"
    if report.gcs_uri is None:
        return _previous_of_step(report.step_id or "", steps, path)
    step_id = StepId(report.step_id) if report.step_id else None
    return PreviousReportSource(uri=_uri(report.gcs_uri, f"{path}.gcs_uri"), step_id=step_id)


def _previous_of_step(
    step_id: str, steps: Mapping[str, Any], path: str
) -> PreviousReportSource:
    uri = _output(step_id, steps, path, ("gcs_uri",))
    if steps[step_id].get("stepType") != LLM_REPORT:
        raise InvalidStepInputs(f"{path}: step {step_id[:64]} is no {LLM_REPORT}")
    return PreviousReportSource(uri=uri, step_id=StepId(step_id))


def _output(
    step_id: str, steps: Mapping[str, Any], path: str, fields: tuple[str, ...]
) -> GcsUri:
    step = steps.get(step_id)
    if not isinstance(step, Mapping):
        raise InvalidStepInputs(f"{path}: the run has no step {step_id[:64]}")
    outputs = step.get("outputs")
    values = outputs if isinstance(outputs, Mapping) else {}
    value = next((values[name] for name in fields if values.get(name)), None)
    if value is None:
        raise InvalidStepInputs(f"{path}: step {step_id[:64]} has no outputs.{fields[0]}")
    return _uri(value, f"steps.{step_id[:64]}.outputs.{fields[0]}")


def _uri(value: object, path: str) -> GcsUri:
    try:
        return parse_gcs_uri(value)
    except ValueError as error:
        raise InvalidStepInputs(f"{path}: {error}") from None
