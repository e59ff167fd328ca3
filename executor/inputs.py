"""A step's inputs, from run and registry, checked as a whole before anything is paid."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from executor.finalizing import ReadDocuments
from executor.invocation import Invocation
from executor.models import check_api, check_profile
from executor.output_schema import OutputSchema, output_schema
from executor.settings import ExecutorSettings, HashPolicy
from shared.domain.artifacts import GcsUri, artifact_uri
from shared.domain.documents import DocumentRef
from shared.domain.errors import (
    FlowRunInvalid,
    InvalidStepInputs,
    LlmProfileInvalid,
    PromptNotFound,
)
from shared.domain.flow_run import FlowRun, Step, parse_flow_run
from shared.domain.identifiers import PromptId, StepId, Timeframe, is_timeframe
from shared.domain.profile import LlmProfile, parse_profile
from shared.domain.registry import Prompt, parse_prompt, parse_schema_document
from shared.domain.report_inputs import Sources, parse_report_inputs, resolve_sources
from shared.events import Event
from shared.ports import Clock

_MAX_LOGGED_WARNINGS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class StepInputs:
    """A step's inputs, checked."""

    run: FlowRun
    step_id: StepId
    timeframe: Timeframe
    prompt_id: PromptId
    prompt: Prompt
    profile: LlmProfile
    profile_data: Mapping[str, Any]
    schema: OutputSchema
    sources: Sources
    uri: GcsUri


@dataclass(frozen=True, slots=True, kw_only=True)
class InputReader:
    """Reads the inputs of steps."""

    clock: Clock
    settings: ExecutorSettings
    read_documents: ReadDocuments

    def place(self, work: Invocation) -> GcsUri:
        """Where the step's report is stored.

        Raises:
            InvalidStepInputs: the run, or the step's timeframe, gives it no place.
        """
        run, step = _step(work)
        return self._uri(run, step.step_id, _timeframe(step))

    async def read(self, work: Invocation) -> StepInputs:
        """The step's inputs.

        Raises:
            InvalidStepInputs: an input is missing or malformed.
            LlmProfileInvalid: profile, model or schema cannot be used.
            PromptNotFound: there is no such prompt.
            FirestoreUnavailable: the registry did not answer.
        """
        work.log.debug(Event.PROMPT_FETCH_STARTED)
        run, step = _step(work)
        steps = work.run.data["steps"]
        problem = run.dependency_problem(step)
        if problem is not None:
            raise InvalidStepInputs(problem)
        parsed = parse_report_inputs(steps[step.step_id])
        prompt_id = PromptId(parsed.llm.prompt_id)
        profile = parse_profile(parsed.llm.llm_profile)
        self._check_profile(profile, work)
        prompt, schema = await self._registry(prompt_id, profile, work)
        work.log.debug(Event.PROMPT_FETCH_FINISHED, promptId=prompt_id)
        timeframe = _timeframe(step)
        return StepInputs(
            run=run,
            step_id=step.step_id,
            timeframe=timeframe,
            prompt_id=prompt_id,
            prompt=prompt,
            profile=profile,
            profile_data=parsed.llm.llm_profile,
            schema=schema,
            sources=resolve_sources(parsed, steps),
            uri=self._uri(run, step.step_id, timeframe),
        )

    def _check_profile(self, profile: LlmProfile, work: Invocation) -> None:
        check_api(profile, self.settings.gemini.api)
        last_day = check_profile(
            profile,
            allowed=self.settings.gemini.allowed_models,
            max_output_tokens=self.settings.limits.max_output_tokens,
            today=self.clock.now().date(),
        )
        if last_day is not None:
            work.log.warning(
                Event.PROMPT_FETCH_FINISHED,
                "the model retires soon: pin another one",
                modelName=profile.model_name,
                lastDay=str(last_day),
            )

    async def _registry(
        self, prompt_id: PromptId, profile: LlmProfile, work: Invocation
    ) -> tuple[Prompt, OutputSchema]:
        """Prompt and schema, from the first read where the message's hints were right."""
        prompt_ref = DocumentRef(self.settings.prompts, prompt_id)
        schema_id = profile.schema_id
        schema_ref = DocumentRef(self.settings.schemas, schema_id) if schema_id else None
        wanted = [prompt_ref, *([schema_ref] if schema_ref else [])]
        missing = [ref for ref in wanted if ref not in work.registry]
        found = dict(work.registry)
        if missing:
            found.update(zip(missing, await self.read_documents(missing), strict=True))
        prompt = found[prompt_ref]
        if prompt is None:
            raise PromptNotFound(f"there is no prompt {prompt_id}")
        document = found[schema_ref] if schema_ref else None
        parsed = (
            parse_schema_document(schema_id, document.data) if schema_id and document else None
        )
        schema = output_schema(profile, parsed)
        self._check_drift(schema, work)
        if schema.warnings:
            work.log.warning(
                Event.STRUCTURED_OUTPUT_SCHEMA_INVALID,
                "Gemini does not enforce all of the schema",
                schemaId=schema.schema_id,
                warnings=schema.warnings[:_MAX_LOGGED_WARNINGS],
            )
        return parse_prompt(prompt_id, prompt.data), schema

    def _check_drift(self, schema: OutputSchema, work: Invocation) -> None:
        if schema.drifted_from is None:
            return
        message = f"schema {schema.schema_id}: its hash is {schema.sha256}, not the stated one"
        if self.settings.hash_policy is HashPolicy.ENFORCE:
            raise LlmProfileInvalid(message)
        work.log.warning(Event.STRUCTURED_OUTPUT_SCHEMA_INVALID, message, policy="warn")

    def _uri(self, run: FlowRun, step_id: StepId, timeframe: Timeframe) -> GcsUri:
        try:
            return artifact_uri(
                bucket=self.settings.artifacts_bucket,
                prefix=self.settings.artifacts_prefix,
                run_id=run.run_id,
                timeframe=timeframe,
                step_id=step_id,
            )
        except ValueError as problem:
            raise InvalidStepInputs(f"the report has no place: {problem}") from None


def _step(work: Invocation) -> tuple[FlowRun, Step]:
    try:
        run = parse_flow_run(work.run.ref.document_id, work.run.data)
    except FlowRunInvalid as problem:
        raise InvalidStepInputs(f"the flow run is invalid: {problem.message}") from None
    return run, run.steps[work.held.record.step_id]


def _timeframe(step: Step) -> Timeframe:
    if not is_timeframe(step.timeframe):
        raise InvalidStepInputs("timeframe must be 1 to 16 letters and digits, such as 1d")
    return step.timeframe
