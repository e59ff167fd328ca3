"""From a leased job to a stored report."""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any

from executor.contract.artifacts import GcsUri, ReportInputs, ReportMetadata, report_document
from executor.inputs.prefetch import Prefetch, Prefetcher
from executor.inputs.step_inputs import StepInputs
from executor.inputs.user_message import build_user_message
from executor.jobs.invocation import Invocation
from executor.jobs.outcome import StoredReport, Succeeded, WorkFailed
from executor.model_calls.calling import ModelCaller
from executor.ports import ModelAnswer, ModelRequest
from executor.reports.receipt import Receipt, make_receipt
from executor.reports.store import ReportStore
from executor.settings import CallPolicy, ExecutorSettings
from executor.validation.answer import read_output, unfenced
from executor.validation.repair import second_request
from shared.computing import computed
from shared.domain.attempts import CallPurpose
from shared.domain.document_size import ENDING_BYTES, room_left
from shared.domain.errors import (
    CallOutcomeUnknown,
    GcsWriteFailed,
    InvalidStructuredOutput,
    LlmProfileInvalid,
    RunTooLarge,
    StepError,
    TimeBudgetExceeded,
)
from shared.domain.times import rfc3339
from shared.log import LogEvent
from shared.ports import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportMaker:
    """Makes the reports of leased jobs."""

    caller: ModelCaller
    prefetcher: Prefetcher
    reports: ReportStore
    clock: Clock
    settings: ExecutorSettings

    async def make_report(
        self, invocation: Invocation, prefetch: Awaitable[Prefetch] | None
    ) -> Succeeded:
        """Store the step's report, calling the model unless it stands already.

        Args:
            invocation: the leased job.
            prefetch: what it is made from, where that is being read already.

        Raises:
            WorkFailed: with the step's error.
            AnswerPending: the model is still at work in the background.
            LeaseLost: another holder has the job.
        """
        try:
            if invocation.held.record.attempt > 1:
                found = await self.recovered(invocation)
                if found is not None:
                    return Succeeded(report=found, answer=None)
            # Before anything is read for the report: most looks of a long call are in vain.
            invocation = await self.caller.looked(invocation)
            read = await (prefetch or self.prefetcher.read(invocation))
            inputs, receipt = read.inputs, self._receipt(read, invocation)
            if invocation.held.record.may_have_artifact:
                found = await self.reports.with_digest(inputs.uri, receipt.digest, invocation)
                if found is not None:
                    return Succeeded(report=found, answer=None)
            self._check_call_policy(invocation)
            _check_room(invocation)
            await self._check_place(inputs.uri, invocation)
            request = self._request(read, invocation)
        except StepError as error:
            raise WorkFailed(error, None) from None
        return await self._paid(request, inputs, receipt, invocation)

    async def recovered(self, invocation: Invocation) -> StoredReport | None:
        """The report that a former attempt under this claim stored and did not finalize.

        Raises:
            StepError: the place cannot be known, or Cloud Storage did not answer.
        """
        return await self.reports.of_this_claim(
            self.prefetcher.inputs.place(invocation), invocation
        )

    async def _paid(
        self,
        request: ModelRequest,
        inputs: StepInputs,
        receipt: Receipt,
        invocation: Invocation,
    ) -> Succeeded:
        """Call the model, check its answer, store the report; a failure keeps the answer."""
        answer: ModelAnswer | None = None
        try:
            answer = unfenced(await self.caller.ask(request, CallPurpose.REPORT, invocation))
            try:
                output = await _output(answer, request, invocation)
            except InvalidStructuredOutput as problem:
                answer = await self._repaired(request, answer, problem, invocation)
                output = await _output(answer, request, invocation)
            document = report_document(self._metadata(inputs, answer, invocation), output)
            with invocation.held.answer_in_hand():
                report = await self.reports.create(inputs.uri, document, receipt, invocation)
        except StepError as error:
            raise WorkFailed(error, answer) from None
        stored_at = self.clock.now()
        invocation.held.note(lambda job: job.note_stored(stored_at))
        return Succeeded(report=report, answer=answer)

    async def _repaired(
        self,
        request: ModelRequest,
        answer: ModelAnswer,
        problem: InvalidStructuredOutput,
        invocation: Invocation,
    ) -> ModelAnswer:
        """The answer of the claim's one repair call, if there may be one."""
        record = invocation.held.with_notes
        affordable = not record.repair_used and self.caller.calls_left(record) > 0
        repair = second_request(request, answer, problem)
        if not affordable or repair is None:
            raise problem
        invocation.log.info(LogEvent.STRUCTURED_OUTPUT_REPAIR_ATTEMPT_STARTED)
        try:
            repaired = await self.caller.ask(repair, CallPurpose.REPAIR, invocation)
        except TimeBudgetExceeded:
            raise problem from None
        except LlmProfileInvalid:
            # A model that knows no such setting refuses ours, which is not the author's.
            if repair.profile != request.profile:
                raise problem from None
            raise
        invocation.log.info(LogEvent.STRUCTURED_OUTPUT_REPAIR_ATTEMPT_FINISHED)
        return unfenced(repaired)

    async def _check_place(self, uri: GcsUri, invocation: Invocation) -> None:
        """Pay for no further report while the place does not take any.

        Raises:
            GcsWriteFailed: Cloud Storage does not answer.
            GcsWriteRefused: Cloud Storage refuses.
        """
        record = invocation.held.with_notes
        failed = record.last_error is not None and (
            record.last_error.code == GcsWriteFailed.code
        )
        if failed and self.caller.resumable(record) is None:
            await self.reports.prove_writable(uri, invocation)

    def _check_call_policy(self, invocation: Invocation) -> None:
        """Refuse a second call where the outcome of the first is not known."""
        lost = (
            invocation.held.lost_call
            and self.caller.resumable(invocation.held.with_notes) is None
        )
        if lost and self.settings.call_policy is CallPolicy.AT_MOST_ONCE:
            raise CallOutcomeUnknown("a former attempt ended in the middle of its call")

    def _metadata(
        self, inputs: StepInputs, answer: ModelAnswer, invocation: Invocation
    ) -> ReportMetadata:
        return ReportMetadata(
            schema_version=inputs.schema.major,
            run_id=inputs.run.run_id,
            step_id=inputs.step_id,
            created_at=rfc3339(invocation.held.record.claimed_at),
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

    def _receipt(self, read: Prefetch, invocation: Invocation) -> Receipt:
        inputs = read.inputs
        receipt = make_receipt(
            prompt_id=inputs.prompt_id,
            prompt=inputs.prompt,
            schema_sha256=inputs.schema.sha256,
            profile=inputs.profile,
            objects=read.context.digests,
            media_resolution=self.settings.gemini.resolution_of(inputs.profile),
        )
        # Hashed once: notes are applied again after each change of the record.
        digest = receipt.digest
        invocation.held.note(lambda job: job.note_inputs(digest))
        return receipt

    def _request(self, read: Prefetch, invocation: Invocation) -> ModelRequest:
        inputs, context = read.inputs, read.context
        text = build_user_message(
            user_prompt=inputs.prompt.user_prompt,
            timeframe=inputs.timeframe,
            ohlcv_json=context.ohlcv_json,
            chart_descriptions=context.chart_descriptions,
            previous_reports=context.previous_reports,
        )
        invocation.log.debug(
            LogEvent.USER_INPUT_BUILT, chars=len(text), images=len(context.images)
        )
        return ModelRequest(
            profile=inputs.profile,
            system_instruction=inputs.prompt.system_instruction,
            user_text=text,
            images=context.images,
            json_schema=inputs.schema.json_schema,
            media_resolution=self.settings.gemini.resolution_of(inputs.profile),
        )


def _check_room(invocation: Invocation) -> None:
    """Refuse a call whose outcome the run's document could not say.

    Raises:
        RunTooLarge: it has too little room.
    """
    left = room_left(invocation.run)
    if left < ENDING_BYTES:
        raise RunTooLarge(f"{max(0, left)} bytes are left, {ENDING_BYTES} are needed")


async def _output(
    answer: ModelAnswer, request: ModelRequest, invocation: Invocation
) -> Mapping[str, Any]:
    try:
        return await computed(lambda: read_output(answer, request.json_schema))
    except InvalidStructuredOutput as problem:
        invocation.log.warning(
            LogEvent.STRUCTURED_OUTPUT_INVALID, problem.message, diagnostics=problem.details
        )
        raise
