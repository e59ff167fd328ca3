"""What waiting steps refer to (prompts, schemas, models), by the executor's own rules."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from executor.models import check_profile
from executor.output_schema import output_schema
from executor.settings import ExecutorSettings
from infra.ops.connection import Connection
from infra.ops.doctor_facts import Finding, Level
from infra.ops.lenient import map_at, text_at
from shared.domain.documents import DocumentRef
from shared.domain.errors import InvalidStepInputs, LlmProfileInvalid
from shared.domain.flow_run import LLM_REPORT
from shared.domain.identifiers import PromptId, SchemaId
from shared.domain.profile import LlmProfile, parse_profile
from shared.domain.registry import parse_prompt, parse_schema_document
from shared.domain.report_inputs import parse_report_inputs
from shared.domain.steps import StepStatus

#: The newest runs whose steps are looked at.
MAX_RUNS = 50
_BATCH = 100
_CALL_SECONDS = 15.0
_TO_COME = frozenset({StepStatus.PENDING, StepStatus.READY})
_PROMPTS, _SCHEMAS = "llm_prompts", "llm_schemas"


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingStep:
    """A report step that is still to be executed."""

    run_id: str
    step_id: str
    step: Mapping[str, Any]

    @property
    def prompt_ref(self) -> DocumentRef | None:
        """The prompt that the step names."""
        return _ref(_PROMPTS, text_at(self._llm, "promptId"))

    @property
    def schema_ref(self) -> DocumentRef | None:
        """The schema that the step names."""
        structured = map_at(map_at(self._llm, "llmProfile"), "structuredOutput")
        return _ref(_SCHEMAS, text_at(structured, "schemaId"))

    @property
    def _llm(self) -> Mapping[str, Any]:
        return map_at(map_at(self.step, "inputs"), "llm")


#: Documents that were looked for; None where there is none.
Registry = Mapping[DocumentRef, Mapping[str, Any] | None]


async def read_waiting(connection: Connection) -> tuple[Sequence[WaitingStep], Registry]:
    """The waiting steps of the newest runs, and the documents that they name.

    Raises:
        StoreUnavailable: Firestore did not answer.
    """
    names = await connection.runs.newest(
        connection.flow_runs, limit=MAX_RUNS, timeout_seconds=_CALL_SECONDS
    )
    runs = await _read(connection, [DocumentRef(connection.flow_runs, name) for name in names])
    steps = [
        WaitingStep(run_id=ref.document_id, step_id=step_id, step=step)
        for ref, run in runs.items()
        for step_id, step in map_at(run or {}, "steps").items()
        if text_at(step, "stepType") == LLM_REPORT and text_at(step, "status") in _TO_COME
    ]
    named = {ref for step in steps for ref in (step.prompt_ref, step.schema_ref) if ref}
    return steps, await _read(connection, sorted(named, key=str))


def registry_findings(
    steps: Sequence[WaitingStep], registry: Registry, settings: ExecutorSettings, today: date
) -> tuple[Finding, ...]:
    """What would fail a step before the model is called; each problem once."""
    found: dict[tuple[str, str], Finding] = {}
    for waiting in steps:
        for finding in _step_findings(waiting, registry, settings, today):
            found.setdefault((finding.subject, finding.problem), finding)
    return tuple(found.values())


def _step_findings(
    waiting: WaitingStep, registry: Registry, settings: ExecutorSettings, today: date
) -> Iterator[Finding]:
    where = f"{waiting.run_id} {waiting.step_id}"
    try:
        parse_report_inputs(waiting.step)
        profile = parse_profile(map_at(waiting.step, "inputs")["llm"]["llmProfile"])
    except (InvalidStepInputs, LlmProfileInvalid) as problem:
        yield Finding(
            subject=where,
            problem=problem.message,
            remedy="have the orchestrator write the step's inputs right",
        )
        return
    yield from _prompt(waiting, registry, where)
    yield from _schema(waiting, profile, registry, where)
    yield from _model(profile, settings, today, where)


def _prompt(waiting: WaitingStep, registry: Registry, where: str) -> Iterator[Finding]:
    ref = waiting.prompt_ref
    if ref is None:
        return
    document, remedy = registry.get(ref), "publish it: `worker-llm prompts --help`"
    if document is None:
        problem = f"there is no such prompt, and {where} refers to it"
        yield Finding(subject=ref.document_id, problem=problem, remedy=remedy)
        return
    try:
        parse_prompt(PromptId(ref.document_id), document)
    except InvalidStepInputs as invalid:
        yield Finding(subject=ref.document_id, problem=invalid.message, remedy=remedy)


def _schema(
    waiting: WaitingStep, profile: LlmProfile, registry: Registry, where: str
) -> Iterator[Finding]:
    ref = waiting.schema_ref
    if ref is None:
        return
    data, remedy = registry.get(ref), "publish a new version: `worker-llm schemas --help`"
    if data is None:
        problem = f"there is no such schema, and {where} refers to it"
        yield Finding(subject=ref.document_id, problem=problem, remedy=remedy)
        return
    try:
        document = parse_schema_document(SchemaId(ref.document_id), data)
        schema = output_schema(profile, document)
    except LlmProfileInvalid as invalid:
        yield Finding(subject=ref.document_id, problem=invalid.message, remedy=remedy)
        return
    if schema.drifted_from:
        yield Finding(
            subject=ref.document_id,
            problem=f"its hash is {schema.sha256}, and {schema.drifted_from} is claimed",
            remedy=remedy,
            level=Level.WARNING,
        )


def _model(
    profile: LlmProfile, settings: ExecutorSettings, today: date, where: str
) -> Iterator[Finding]:
    try:
        last_day = check_profile(
            profile,
            allowed=settings.gemini.allowed_models,
            max_output_tokens=settings.limits.max_output_tokens,
            today=today,
        )
    except LlmProfileInvalid as invalid:
        yield Finding(
            subject=profile.model_name,
            problem=f"{invalid.message}, and {where} asks for it",
            remedy="allow it in allowed_models and apply, or have the orchestrator pin another",
        )
        return
    if last_day is not None:
        yield Finding(
            subject=profile.model_name,
            problem=f"its last day of use is {last_day}, and {where} asks for it",
            remedy="have the orchestrator pin another: docs/how-to/runbooks/models-retiring.md",
            level=Level.WARNING,
        )


def _ref(collection: str, name: str | None) -> DocumentRef | None:
    return DocumentRef(collection, name) if name and "/" not in name else None


async def _read(connection: Connection, refs: Sequence[DocumentRef]) -> Registry:
    found: dict[DocumentRef, Mapping[str, Any] | None] = dict.fromkeys(refs)
    for start in range(0, len(refs), _BATCH):
        batch = refs[start : start + _BATCH]
        snapshots = await connection.documents.read(batch, timeout_seconds=_CALL_SECONDS)
        found |= {item.ref: item.data for item in snapshots if item}
    return found
