"""A step's inputs, from run and registry, checked as a whole before anything is paid."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from executor.contract.artifacts import GcsUri, artifact_uri
from executor.contract.profile import LlmProfile, parse_profile
from executor.contract.registry import Prompt, parse_prompt, parse_schema_document
from executor.contract.report_inputs import Sources, parse_report_inputs, resolve_sources
from executor.inputs.allowlist import check_api, check_profile, check_tier
from executor.jobs.invocation import Invocation
from executor.jobs.records import RecordReader
from executor.settings import ExecutorSettings, HashPolicy
from executor.validation.report_schema import OutputSchema, output_schema
from shared.computing import computed
from shared.domain.documents import DocumentRef, Snapshot
from shared.domain.errors import (
    FlowRunInvalid,
    InvalidStepInputs,
    LlmProfileInvalid,
    PromptNotFound,
)
from shared.domain.flow_run import FlowRun, Step, parse_flow_run
from shared.domain.identifiers import PromptId, StepId, Timeframe, is_timeframe
from shared.log import LogEvent
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
    records: RecordReader

    def place(self, invocation: Invocation) -> GcsUri:
        """Where the step's report is stored.

        Raises:
            InvalidStepInputs: the run, or the step's timeframe, gives it no place.
        """
        run, step = _step(invocation)
        return self._uri(run, step.step_id, _timeframe(step))

    async def read(self, invocation: Invocation) -> StepInputs:
        """The step's inputs.

        Raises:
            InvalidStepInputs: an input is missing or malformed.
            LlmProfileInvalid: profile, model or schema cannot be used.
            PromptNotFound: there is no such prompt.
            FirestoreUnavailable: the registry did not answer.
        """
        invocation.log.debug(LogEvent.PROMPT_FETCH_STARTED)
        run, step = _step(invocation)
        steps = invocation.run.data["steps"]
        problem = run.dependency_problem(step)
        if problem is not None:
            raise InvalidStepInputs(problem)
        parsed = parse_report_inputs(steps[step.step_id])
        prompt_id = PromptId(parsed.llm.prompt_id)
        profile = parse_profile(parsed.llm.llm_profile)
        self._check_profile(profile, invocation)
        prompt, schema = await self._registry(prompt_id, profile, invocation)
        invocation.log.debug(LogEvent.PROMPT_FETCH_FINISHED, promptId=prompt_id)
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

    def _check_profile(self, profile: LlmProfile, invocation: Invocation) -> None:
        check_api(profile, self.settings.gemini.api)
        check_tier(profile, self.settings.gemini.service_tiers)
        last_day = check_profile(
            profile,
            allowed=self.settings.gemini.allowed_models,
            max_output_tokens=self.settings.limits.max_output_tokens,
            today=self.clock.now().date(),
        )
        if last_day is not None:
            invocation.log.warning(
                LogEvent.PROMPT_FETCH_FINISHED,
                "the model retires soon: pin another one",
                modelName=profile.model_name,
                lastDay=str(last_day),
            )

    async def _registry(
        self, prompt_id: PromptId, profile: LlmProfile, invocation: Invocation
    ) -> tuple[Prompt, OutputSchema]:
        """Prompt and schema, from the first read where the message's hints were right."""
        prompt_ref = DocumentRef(self.settings.prompts, prompt_id)
        schema_id = profile.schema_id
        schema_ref = DocumentRef(self.settings.schemas, schema_id) if schema_id else None
        wanted = [prompt_ref, *([schema_ref] if schema_ref else [])]
        missing = [ref for ref in wanted if ref not in invocation.registry]
        found = dict(invocation.registry)
        if missing:
            found.update(zip(missing, await self.records.read(missing), strict=True))
        prompt = found[prompt_ref]
        if prompt is None:
            raise PromptNotFound(f"there is no prompt {prompt_id}")
        document = found[schema_ref] if schema_ref else None
        schema, parsed = await computed(
            lambda: (_schema(profile, document), parse_prompt(prompt_id, prompt.data))
        )
        self._check_drift(schema, invocation)
        if schema.warnings:
            invocation.log.warning(
                LogEvent.STRUCTURED_OUTPUT_SCHEMA_INVALID,
                "the model is not held to all of the schema",
                schemaId=schema.schema_id,
                warnings=schema.warnings[:_MAX_LOGGED_WARNINGS],
            )
        return parsed, schema

    def _check_drift(self, schema: OutputSchema, invocation: Invocation) -> None:
        if schema.drifted_from is None:
            return
        message = f"schema {schema.schema_id}: its hash is {schema.sha256}, not the stated one"
        if self.settings.hash_policy is HashPolicy.ENFORCE:
            raise LlmProfileInvalid(message)
        invocation.log.warning(
            LogEvent.STRUCTURED_OUTPUT_SCHEMA_INVALID, message, policy="warn"
        )

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


def _schema(profile: LlmProfile, document: Snapshot | None) -> OutputSchema:
    """The schema of the step's answer; see `output_schema`."""
    schema_id = profile.schema_id
    parsed = parse_schema_document(schema_id, document.data) if schema_id and document else None
    return output_schema(profile, parsed)


def _step(invocation: Invocation) -> tuple[FlowRun, Step]:
    try:
        run = parse_flow_run(invocation.run.ref.document_id, invocation.run.data)
    except FlowRunInvalid as problem:
        raise InvalidStepInputs(f"the flow run is invalid: {problem.message}") from None
    return run, run.steps[invocation.held.record.step_id]


def _timeframe(step: Step) -> Timeframe:
    if not is_timeframe(step.timeframe):
        raise InvalidStepInputs("timeframe must be 1 to 16 letters and digits, such as 1d")
    return step.timeframe
