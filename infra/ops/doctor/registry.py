"""What waiting steps refer to (prompts, schemas, models), by the executor's own rules."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from executor.contract.profile import LlmProfile, parse_profile
from executor.contract.registry import parse_prompt, parse_schema_document
from executor.contract.report_inputs import parse_report_inputs
from executor.inputs.allowlist import check_profile
from executor.settings import ExecutorSettings
from executor.validation.property_order import order_warnings
from executor.validation.report_schema import output_schema
from executor.validation.schema_advice import schema_advice
from infra.ops.doctor.facts import CheckLevel, CheckResult
from infra.ops.environment.connection import Connection
from infra.ops.environment.listing import NewestFirst
from infra.ops.environment.stored_documents import map_at, text_at
from infra.ops.runs.contract import contract_problem
from shared.domain.documents import DocumentRef
from shared.domain.errors import InvalidStepInputs, LlmProfileInvalid
from shared.domain.flow_run import LLM_REPORT
from shared.domain.identifiers import PromptId, SchemaId
from shared.domain.steps import StepStatus
from shared.settings import Collections

#: The newest runs whose steps are looked at.
MAX_RUNS = 50
_BATCH = 100
_CALL_SECONDS = 15.0
_TO_COME = frozenset({StepStatus.PENDING, StepStatus.READY})


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingStep:
    """A report step that is still to be executed."""

    run_id: str
    step_id: str
    step: Mapping[str, Any]
    #: Where prompts and schemas are.
    collections: Collections
    #: Why the worker refuses the whole run; None for one that it takes.
    run_problem: str | None = None

    @property
    def prompt_ref(self) -> DocumentRef | None:
        """The prompt that the step names."""
        return _ref(self.collections.prompts, text_at(self._llm, "promptId"))

    @property
    def schema_ref(self) -> DocumentRef | None:
        """The schema that the step names."""
        structured = map_at(map_at(self._llm, "llmProfile"), "structuredOutput")
        return _ref(self.collections.schemas, text_at(structured, "schemaId"))

    @property
    def _llm(self) -> Mapping[str, Any]:
        return map_at(map_at(self.step, "inputs"), "llm")


#: Documents that were looked for; None where there is none.
Registry = Mapping[DocumentRef, Mapping[str, Any] | None]


async def read_waiting(
    connection: Connection, collections: Collections
) -> tuple[Sequence[WaitingStep], Registry]:
    """The waiting steps of the newest runs, and the documents that they name.

    Args:
        connection: the environment.
        collections: where its executor looks for them.

    Raises:
        StoreUnavailable: Firestore did not answer.
    """
    newest = NewestFirst(collection=collections.flow_runs, limit=MAX_RUNS)
    runs = await connection.runs.find(newest, timeout_seconds=_CALL_SECONDS)
    steps = [
        WaitingStep(
            run_id=run.ref.document_id,
            step_id=step_id,
            step=step,
            collections=collections,
            run_problem=contract_problem(run.ref.document_id, run.data),
        )
        for run in runs
        for step_id, step in map_at(run.data, "steps").items()
        if text_at(step, "stepType") == LLM_REPORT and text_at(step, "status") in _TO_COME
    ]
    named = {ref for step in steps for ref in (step.prompt_ref, step.schema_ref) if ref}
    return steps, await _read(connection, sorted(named, key=str))


def registry_findings(
    steps: Sequence[WaitingStep], registry: Registry, settings: ExecutorSettings, today: date
) -> tuple[CheckResult, ...]:
    """What would fail a step before the model is called; each problem once."""
    found: dict[tuple[str, str], CheckResult] = {}
    for waiting in steps:
        for finding in _step_findings(waiting, registry, settings, today):
            found.setdefault((finding.subject, finding.problem), finding)
    return tuple(found.values())


def _step_findings(
    waiting: WaitingStep, registry: Registry, settings: ExecutorSettings, today: date
) -> Iterator[CheckResult]:
    where = f"{waiting.run_id} {waiting.step_id}"
    if waiting.run_problem is not None:
        yield CheckResult(
            subject=waiting.run_id,
            problem=waiting.run_problem,
            remedy="have the orchestrator begin the run again in a form of the contract",
        )
    try:
        parse_report_inputs(waiting.step)
        profile = parse_profile(map_at(waiting.step, "inputs")["llm"]["llmProfile"])
    except (InvalidStepInputs, LlmProfileInvalid) as problem:
        yield CheckResult(
            subject=where,
            problem=problem.message,
            remedy="have the orchestrator write the step's inputs right",
        )
        return
    yield from _prompt(waiting, registry, where)
    yield from _schema(waiting, profile, registry, where)
    yield from _model(profile, settings, today, where)


def _prompt(waiting: WaitingStep, registry: Registry, where: str) -> Iterator[CheckResult]:
    ref = waiting.prompt_ref
    if ref is None:
        return
    document, remedy = registry.get(ref), "publish it: `worker-llm prompts --help`"
    if document is None:
        problem = f"there is no such prompt, and {where} refers to it"
        yield CheckResult(subject=ref.document_id, problem=problem, remedy=remedy)
        return
    try:
        parse_prompt(PromptId(ref.document_id), document)
    except InvalidStepInputs as invalid:
        yield CheckResult(subject=ref.document_id, problem=invalid.message, remedy=remedy)


def _schema(
    waiting: WaitingStep, profile: LlmProfile, registry: Registry, where: str
) -> Iterator[CheckResult]:
    ref = waiting.schema_ref
    if ref is None:
        return
    data, remedy = registry.get(ref), "publish a new version: `worker-llm schemas --help`"
    if data is None:
        problem = f"there is no such schema, and {where} refers to it"
        yield CheckResult(subject=ref.document_id, problem=problem, remedy=remedy)
        return
    try:
        document = parse_schema_document(SchemaId(ref.document_id), data)
        schema = output_schema(profile, document)
    except LlmProfileInvalid as invalid:
        yield CheckResult(subject=ref.document_id, problem=invalid.message, remedy=remedy)
        return
    if schema.drifted_from:
        yield CheckResult(
            subject=ref.document_id,
            problem=f"its hash is {schema.sha256}, and {schema.drifted_from} is claimed",
            remedy=remedy,
            level=CheckLevel.WARNING,
        )
    for advice in (*order_warnings(schema.json_schema), *schema_advice(schema.json_schema)):
        yield CheckResult(
            subject=ref.document_id, problem=advice, remedy=remedy, level=CheckLevel.WARNING
        )


def _model(
    profile: LlmProfile, settings: ExecutorSettings, today: date, where: str
) -> Iterator[CheckResult]:
    try:
        last_day = check_profile(
            profile,
            allowed=settings.gemini.allowed_models,
            max_output_tokens=settings.limits.max_output_tokens,
            today=today,
        )
    except LlmProfileInvalid as invalid:
        yield CheckResult(
            subject=profile.model_name,
            problem=f"{invalid.message}, and {where} asks for it",
            remedy="allow it in allowed_models and apply, or have the orchestrator pin another",
        )
        return
    if last_day is not None:
        yield CheckResult(
            subject=profile.model_name,
            problem=f"its last day of use is {last_day}, and {where} asks for it",
            remedy="have the orchestrator pin another: docs/how-to/runbooks/models-retiring.md",
            level=CheckLevel.WARNING,
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
