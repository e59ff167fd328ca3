"""From a leased job to a stored report."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any

from executor.calling import ModelCaller
from executor.inputs import StepInputs
from executor.invocation import Invocation
from executor.material import Material, MaterialReader
from executor.outcome import StoredReport, Succeeded
from executor.ports import ModelAnswer, ModelRequest
from executor.prompt import build_user_message
from executor.receipt import Receipt, make_receipt
from executor.repair import repair_request, repairable
from executor.report_store import ReportStore
from executor.settings import CallPolicy, ExecutorSettings
from executor.structured_output import read_output
from shared.domain.artifacts import ReportInputs, ReportMetadata, report_document
from shared.domain.attempts import CallPurpose
from shared.domain.errors import (
    CallOutcomeUnknown,
    InvalidStructuredOutput,
    StepError,
    TimeBudgetExceeded,
)
from shared.domain.times import rfc3339
from shared.events import Event
from shared.ports import Clock


class WorkFailed(Exception):
    """The work ended with an error; keeps the answer that was paid for, if there was one."""

    def __init__(self, error: StepError, answer: ModelAnswer | None) -> None:
        super().__init__(str(error.code))
        self.error = error
        self.answer = answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Makes reports."""

    caller: ModelCaller
    material: MaterialReader
    reports: ReportStore
    clock: Clock
    settings: ExecutorSettings

    async def make_report(
        self, work: Invocation, ahead: Awaitable[Material] | None
    ) -> Succeeded:
        """Store the step's report, calling the model unless it stands already.

        Args:
            work: the leased job.
            ahead: the material, where it is being read already.

        Raises:
            WorkFailed: with the step's error.
            AnswerPending: the model is still at work in the background.
            LeaseLost: another holder has the job.
        """
        try:
            if work.held.record.attempt > 1:
                found = await self.recovered(work)
                if found is not None:
                    return Succeeded(report=found, answer=None)
            material = await (ahead or self.material.read(work))
            inputs, receipt = material.inputs, _receipt(material, work)
            if work.held.record.may_have_artifact:
                found = await self.reports.with_digest(inputs.uri, receipt.digest, work)
                if found is not None:
                    return Succeeded(report=found, answer=None)
            self._check_call_policy(work)
            request = _request(material, work)
        except StepError as error:
            raise WorkFailed(error, None) from None
        return await self._paid(request, inputs, receipt, work)

    async def recovered(self, work: Invocation) -> StoredReport | None:
        """The report that a former attempt under this claim stored and did not finalize.

        Raises:
            StepError: the place cannot be known, or Cloud Storage did not answer.
        """
        return await self.reports.of_this_claim(self.material.inputs.place(work), work)

    async def _paid(
        self, request: ModelRequest, inputs: StepInputs, receipt: Receipt, work: Invocation
    ) -> Succeeded:
        """From the first model call on, failures keep the answer that came."""
        answer: ModelAnswer | None = None
        try:
            answer = await self.caller.ask(request, CallPurpose.REPORT, work)
            try:
                output = await _output(answer, request, work)
            except InvalidStructuredOutput as problem:
                answer = await self._repaired(request, answer, problem, work)
                output = await _output(answer, request, work)
            document = report_document(self._metadata(inputs, answer, work), output)
            report = await self.reports.create(inputs.uri, document, receipt, work)
        except StepError as error:
            raise WorkFailed(error, answer) from None
        stored_at = self.clock.now()
        work.held.note(lambda job: job.note_stored(stored_at))
        return Succeeded(report=report, answer=answer)

    async def _repaired(
        self,
        request: ModelRequest,
        answer: ModelAnswer,
        problem: InvalidStructuredOutput,
        work: Invocation,
    ) -> ModelAnswer:
        """The answer of the claim's one repair call, if there may be one."""
        record = work.held.settled
        affordable = not record.repair_used and self.caller.calls_left(record) > 0
        if not (affordable and repairable(problem)):
            raise problem
        repair = repair_request(request, answer.text, problem)
        work.log.info(Event.STRUCTURED_OUTPUT_REPAIR_ATTEMPT_STARTED)
        try:
            repaired = await self.caller.ask(repair, CallPurpose.REPAIR, work)
        except TimeBudgetExceeded:
            raise problem from None
        work.log.info(Event.STRUCTURED_OUTPUT_REPAIR_ATTEMPT_FINISHED)
        return repaired

    def _check_call_policy(self, work: Invocation) -> None:
        """Refuse a second call where the outcome of the first is not known."""
        lost = work.held.lost_call and self.caller.resumable(work.held.settled) is None
        if lost and self.settings.call_policy is CallPolicy.AT_MOST_ONCE:
            raise CallOutcomeUnknown("a former attempt ended in the middle of its call")

    def _metadata(
        self, inputs: StepInputs, answer: ModelAnswer, work: Invocation
    ) -> ReportMetadata:
        return ReportMetadata(
            schema_version=inputs.schema.major,
            run_id=inputs.run.run_id,
            step_id=inputs.step_id,
            created_at=rfc3339(work.held.record.claimed_at),
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


def _receipt(material: Material, work: Invocation) -> Receipt:
    inputs = material.inputs
    receipt = make_receipt(
        prompt_id=inputs.prompt_id,
        prompt=inputs.prompt,
        schema_sha256=inputs.schema.sha256,
        profile=inputs.profile,
        objects=material.context.digests,
    )
    # Hashed once: notes are applied again whenever the record is looked at.
    digest = receipt.digest
    work.held.note(lambda job: job.note_inputs(digest))
    return receipt


def _request(material: Material, work: Invocation) -> ModelRequest:
    inputs, context = material.inputs, material.context
    text = build_user_message(
        user_prompt=inputs.prompt.user_prompt,
        timeframe=inputs.timeframe,
        ohlcv_json=context.ohlcv_json,
        chart_descriptions=context.chart_descriptions,
        previous_reports=context.previous_reports,
    )
    work.log.debug(Event.USER_INPUT_BUILT, chars=len(text), images=len(context.images))
    return ModelRequest(
        profile=inputs.profile,
        system_instruction=inputs.prompt.system_instruction,
        user_text=text,
        images=context.images,
        json_schema=inputs.schema.json_schema,
    )


async def _output(
    answer: ModelAnswer, request: ModelRequest, work: Invocation
) -> Mapping[str, Any]:
    try:
        return read_output(answer, request.json_schema)
    except InvalidStructuredOutput as problem:
        work.log.warning(
            Event.STRUCTURED_OUTPUT_INVALID, problem.message, diagnostics=problem.details
        )
        raise
