"""From a leased job to a stored report."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from executor.context import Context, ContextReader
from executor.digest import input_digest
from executor.lease import HeldJob
from executor.models import check_profile
from executor.outcome import StoredReport, Succeeded
from executor.output_schema import OutputSchema, output_schema
from executor.ports import (
    LanguageModel,
    ModelAnswer,
    ModelRequest,
    ObjectExists,
    ObjectInfo,
    ObjectStore,
    ObjectsUnavailable,
)
from executor.prompt import build_user_message
from executor.settings import ExecutorSettings, HashPolicy
from executor.structured_output import read_output
from shared.domain.artifacts import (
    CONTENT_TYPE,
    INPUT_DIGEST_KEY,
    GcsUri,
    ReportInputs,
    ReportMetadata,
    artifact_uri,
    report_document,
)
from shared.domain.canonical import sha256_hex
from shared.domain.deadline import Deadline
from shared.domain.documents import DocumentRef, Snapshot
from shared.domain.errors import (
    ArtifactConflict,
    AttemptsExhausted,
    FlowRunInvalid,
    GcsWriteFailed,
    InvalidStepInputs,
    InvalidStructuredOutput,
    LlmProfileInvalid,
    PromptNotFound,
    StepError,
    TimeBudgetExceeded,
)
from shared.domain.flow_run import FlowRun, Step, parse_flow_run
from shared.domain.identifiers import PromptId, StepId, Timeframe, is_timeframe
from shared.domain.profile import LlmProfile, parse_profile
from shared.domain.registry import Prompt, parse_prompt, parse_schema_document
from shared.domain.report_inputs import Sources, parse_report_inputs, resolve_sources
from shared.domain.times import rfc3339
from shared.events import Event, EventLogger
from shared.ports import Clock

#: A report is small and the upload one request; what takes longer is not answered at all.
_OBJECT_CALL_SECONDS = 60.0
_MAX_LOGGED_WARNINGS = 10


class WorkFailed(Exception):
    """The work ended with an error; keeps the answer that was paid for, if there was one."""

    def __init__(self, error: StepError, answer: ModelAnswer | None) -> None:
        super().__init__(str(error.code))
        self.error = error
        self.answer = answer


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportJob:
    """One leased job with all that was read for it."""

    run: Snapshot
    registry: Mapping[DocumentRef, Snapshot | None]
    held: HeldJob
    deadline: Deadline
    log: EventLogger


@dataclass(frozen=True, slots=True, kw_only=True)
class _Inputs:
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
class Work:
    """Makes reports."""

    objects: ObjectStore
    model: LanguageModel
    clock: Clock
    settings: ExecutorSettings
    read_documents: Callable[[Sequence[DocumentRef]], Awaitable[Sequence[Snapshot | None]]]

    async def make_report(self, job: ReportJob) -> Succeeded:
        """Store the step's report, calling the model unless it stands already.

        Raises:
            WorkFailed: with the step's error.
        """
        answer: ModelAnswer | None = None
        try:
            inputs = await self._inputs(job)
            context = await self._context(inputs, job)
            digest = input_digest(
                prompt=inputs.prompt,
                schema=inputs.schema,
                profile=inputs.profile,
                context=context,
            )
            if job.held.record.attempt > 1:
                found = await self._standing(inputs.uri, digest, job)
                if found is not None:
                    return Succeeded(report=found, answer=None)
            answer = await self._ask(inputs, context, job)
            output = self._output(answer, inputs, job)
            report = await self._store(inputs, answer, output, digest, job)
            return Succeeded(report=report, answer=answer)
        except StepError as error:
            raise WorkFailed(error, answer) from None

    async def _inputs(self, job: ReportJob) -> _Inputs:
        job.log.debug(Event.PROMPT_FETCH_STARTED)
        step_id, data = job.held.record.step_id, job.run.data
        try:
            run = parse_flow_run(job.run.ref.document_id, data)
        except FlowRunInvalid as problem:
            raise InvalidStepInputs(f"the flow run is invalid: {problem.message}") from None
        step, fields = run.steps[step_id], data["steps"][step_id]
        problem_found = run.dependency_problem(step)
        if problem_found is not None:
            raise InvalidStepInputs(problem_found)
        parsed = parse_report_inputs(fields)
        prompt_id = PromptId(parsed.llm.prompt_id)
        profile = parse_profile(parsed.llm.llm_profile)
        self._check_profile(profile, job)
        prompt, schema = await self._registry(prompt_id, profile, job)
        job.log.debug(Event.PROMPT_FETCH_FINISHED, promptId=prompt_id)
        timeframe = _timeframe(step)
        return _Inputs(
            run=run,
            step_id=step_id,
            timeframe=timeframe,
            prompt_id=prompt_id,
            prompt=prompt,
            profile=profile,
            profile_data=parsed.llm.llm_profile,
            schema=schema,
            sources=resolve_sources(parsed, data["steps"]),
            uri=self._uri(run, step_id, timeframe),
        )

    def _check_profile(self, profile: LlmProfile, job: ReportJob) -> None:
        last_day = check_profile(
            profile,
            allowed=self.settings.gemini.allowed_models,
            max_output_tokens=self.settings.limits.max_output_tokens,
            today=self.clock.now().date(),
        )
        if last_day is not None:
            job.log.warning(
                Event.PROMPT_FETCH_FINISHED,
                "the model retires soon: pin another one",
                modelName=profile.model_name,
                lastDay=str(last_day),
            )

    async def _registry(
        self, prompt_id: PromptId, profile: LlmProfile, job: ReportJob
    ) -> tuple[Prompt, OutputSchema]:
        """Prompt and schema, from the first read where the message's hints were right."""
        prompt_ref = DocumentRef(self.settings.prompts, prompt_id)
        schema_id = profile.schema_id
        schema_ref = DocumentRef(self.settings.schemas, schema_id) if schema_id else None
        wanted = [prompt_ref, *([schema_ref] if schema_ref else [])]
        missing = [ref for ref in wanted if ref not in job.registry]
        found = dict(job.registry)
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
        self._check_drift(schema, job)
        if schema.warnings:
            job.log.warning(
                Event.STRUCTURED_OUTPUT_SCHEMA_INVALID,
                "Gemini does not enforce all of the schema",
                schemaId=schema.schema_id,
                warnings=schema.warnings[:_MAX_LOGGED_WARNINGS],
            )
        return parse_prompt(prompt_id, prompt.data), schema

    def _check_drift(self, schema: OutputSchema, job: ReportJob) -> None:
        if schema.drifted_from is None:
            return
        message = f"schema {schema.schema_id}: its hash is {schema.sha256}, not the stated one"
        if self.settings.hash_policy is HashPolicy.ENFORCE:
            raise LlmProfileInvalid(message)
        job.log.warning(Event.STRUCTURED_OUTPUT_SCHEMA_INVALID, message, policy="warn")

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

    async def _context(self, inputs: _Inputs, job: ReportJob) -> Context:
        reader = ContextReader(
            objects=self.objects,
            limits=self.settings.limits,
            buckets=self.settings.context_buckets,
            log=job.log,
        )
        job.log.debug(Event.CONTEXT_RESOLVE_STARTED)
        context = await reader.read(
            inputs.sources, timeout_seconds=self._time_for(_OBJECT_CALL_SECONDS, job)
        )
        job.log.info(Event.CONTEXT_RESOLVE_FINISHED, objects=len(context.digests))
        return context

    async def _ask(self, inputs: _Inputs, context: Context, job: ReportJob) -> ModelAnswer:
        limit = self.settings.limits.max_llm_calls
        if job.held.settled.llm_calls >= limit:
            last = job.held.record.last_error
            raise AttemptsExhausted(
                f"the budget of {limit} model calls is spent",
                details={"lastCode": last.code} if last else None,
            )
        text = build_user_message(
            user_prompt=inputs.prompt.user_prompt,
            timeframe=inputs.timeframe,
            ohlcv_json=context.ohlcv_json,
            chart_descriptions=context.chart_descriptions,
            previous_reports=context.previous_reports,
        )
        job.log.debug(Event.USER_INPUT_BUILT, chars=len(text), images=len(context.images))
        seconds = self._time_for(self.settings.gemini.timeout_seconds, job)
        await job.held.book_llm_call()
        job.log.info(Event.LLM_REQUEST_STARTED, modelName=inputs.profile.model_name)
        started = self.clock.monotonic()
        answer = await self.model.generate(
            ModelRequest(
                profile=inputs.profile,
                system_instruction=inputs.prompt.system_instruction,
                user_text=text,
                images=context.images,
                json_schema=inputs.schema.json_schema,
            ),
            timeout_seconds=seconds,
        )
        job.log.info(
            Event.LLM_REQUEST_FINISHED,
            llm={
                "modelVersion": answer.model_version,
                "finishReason": answer.finish_reason,
                "usage": answer.usage,
            },
            durationMs=round((self.clock.monotonic() - started) * 1000),
        )
        return answer

    def _output(
        self, answer: ModelAnswer, inputs: _Inputs, job: ReportJob
    ) -> Mapping[str, Any]:
        try:
            return read_output(answer, inputs.schema.json_schema)
        except InvalidStructuredOutput as problem:
            job.log.warning(
                Event.STRUCTURED_OUTPUT_INVALID, problem.message, diagnostics=problem.details
            )
            raise

    async def _store(
        self,
        inputs: _Inputs,
        answer: ModelAnswer,
        output: Mapping[str, Any],
        digest: str,
        job: ReportJob,
    ) -> StoredReport:
        metadata = self._metadata(inputs, answer, job)
        document = report_document(metadata, output)
        data = json.dumps(document, ensure_ascii=False, indent=2).encode("utf-8", "replace")
        job.log.debug(Event.GCS_WRITE_STARTED, uri=str(inputs.uri), bytes=len(data))
        try:
            await self.objects.create(
                inputs.uri,
                data,
                content_type=CONTENT_TYPE,
                metadata={INPUT_DIGEST_KEY: digest},
                timeout_seconds=self._time_for(_OBJECT_CALL_SECONDS, job, share=0.5),
            )
        except ObjectExists:
            found = await self._standing(inputs.uri, digest, job)
            if found is None:
                raise GcsWriteFailed(f"{inputs.uri}: it exists and cannot be found") from None
            return found
        except ObjectsUnavailable as problem:
            raise GcsWriteFailed(f"{inputs.uri}: {problem}") from None
        job.log.info(Event.GCS_WRITE_FINISHED, uri=str(inputs.uri), bytes=len(data))
        return StoredReport(
            uri=inputs.uri, reused=False, sha256=sha256_hex(data), size_bytes=len(data)
        )

    async def _standing(self, uri: GcsUri, digest: str, job: ReportJob) -> StoredReport | None:
        """The report that stands at the step's place, if it was made from these inputs."""
        try:
            found: ObjectInfo | None = await self.objects.stat(
                uri, timeout_seconds=self._time_for(_OBJECT_CALL_SECONDS, job, share=0.5)
            )
        except ObjectsUnavailable as problem:
            raise GcsWriteFailed(f"{uri}: {problem}") from None
        if found is None:
            return None
        if found.metadata.get(INPUT_DIGEST_KEY) != digest:
            raise ArtifactConflict(f"{uri}: made from other inputs")
        job.log.info(Event.JOB_RECOVERED, uri=str(uri))
        return StoredReport(uri=uri, reused=True, sha256=None, size_bytes=found.size_bytes)

    def _metadata(self, inputs: _Inputs, answer: ModelAnswer, job: ReportJob) -> ReportMetadata:
        return ReportMetadata(
            schema_version=inputs.schema.major,
            run_id=inputs.run.run_id,
            step_id=inputs.step_id,
            created_at=rfc3339(job.held.record.claimed_at),
            finished_at=rfc3339(self.clock.now()),
            symbol=inputs.run.symbol,
            timeframe=inputs.timeframe,
            prompt_id=inputs.prompt_id,
            model_name=inputs.profile.model_name,
            schema_id=inputs.schema.schema_id,
            schema_sha256=inputs.schema.sha256,
            llm_profile=inputs.profile_data,
            model_version=answer.model_version,
            finish_reason=answer.finish_reason or "",
            usage=answer.usage,
            inputs=ReportInputs(
                ohlcv=inputs.sources.ohlcv,
                charts_manifest=inputs.sources.charts_manifest,
                previous_reports=[report.uri for report in inputs.sources.previous_reports],
            ),
        )

    def _time_for(self, seconds: float, job: ReportJob, *, share: float = 0.0) -> float:
        """How long the next call may take, at most `seconds`.

        Storing a report that was paid for may use a share of the finalize reserve.

        Raises:
            TimeBudgetExceeded: next to nothing is left before the reserve begins.
        """
        available = job.deadline.available(self.clock.monotonic())
        allowed = min(seconds, available + share * job.deadline.reserve_seconds)
        if allowed < 1:
            job.log.warning(Event.TIME_BUDGET_EXCEEDED, availableSeconds=available)
            raise TimeBudgetExceeded(f"{available:.1f} s are left before finalizing")
        return allowed


def _timeframe(step: Step) -> Timeframe:
    if not is_timeframe(step.timeframe):
        raise InvalidStepInputs("timeframe must be 1 to 16 letters and digits, such as 1d")
    return step.timeframe
