"""One cell: a case asked by a variant, executed by the deployed code until the step ends."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from dispatcher.planning import plan_claim
from executor.contract.artifacts import parse_gcs_uri
from executor.ports import ObjectStore
from infra.local.embedded.queue import QueuedMessage, push_body
from infra.ops.environment.stored_documents import map_at, text_at
from infra.ops.evaluation.asking.answers import CellAnswer, answer_of
from infra.ops.evaluation.asking.variants import AskedCase
from infra.ops.evaluation.cases.case import Case
from shared.domain.documents import Create, DocumentRef, Snapshot
from shared.domain.errors import ErrorCode
from shared.domain.flow_run import parse_flow_run
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.job_documents import job_ref, parse_job_record, update_job
from shared.domain.jobs import JobRecord, JobState
from shared.domain.messages import JobMessage
from shared.domain.steps import StepStatus
from shared.domain.times import rfc3339
from shared.ports import Clock, DocumentStore

RUNS = "flow_runs"
_SUBSCRIPTION = "projects/evaluation/subscriptions/cells"
_CALL_SECONDS = 10.0
_REPORT_BYTES = 8 * 1024 * 1024
#: A cell that is still not ended is left for the next evaluation.
_MAX_DELIVERIES = 50
_SHORTEST_PAUSE_SECONDS = 0.05
#: The first lost its answer; the second had no money left to repair an answer.
_PAID_FOR_NOTHING = frozenset({ErrorCode.CALL_OUTCOME_UNKNOWN, ErrorCode.COST_CEILING_EXCEEDED})

#: Takes the body of a push request, answers an HTTP status.
Endpoint = Callable[[bytes], Awaitable[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationCell:
    """A case asked by a variant, in stores of its own."""

    #: Digest of all inputs, and which of several equal ones it is.
    cell_id: str
    case: Case
    asked: AskedCase
    documents: DocumentStore
    objects: ObjectStore
    #: Where its report goes, and nothing else is.
    objects_of_report: ObjectStore
    clock: Clock

    async def answer(self) -> CellAnswer | None:
        """What it came to; None until the step has ended."""
        step = await self.step()
        if step.get("status") not in {StepStatus.SUCCEEDED, StepStatus.FAILED}:
            return None
        _, job = await self._records()
        return answer_of(
            map_at(step, "outputs", "execution"),
            job.data if job else None,
            await self.report(),
            step.get("error"),
        )

    async def step(self) -> Mapping[str, Any]:
        """The step as it stands; empty before it was first claimed."""
        run, _ = await self._records()
        return map_at(run.data, "steps", self.case.step_id) if run else {}

    async def report(self) -> bytes | None:
        """The report's bytes; None without one."""
        uri = text_at(await self.step(), "outputs", "gcs_uri")
        if uri is None:
            return None
        stored = await self.objects_of_report.read(
            parse_gcs_uri(uri), max_bytes=_REPORT_BYTES, timeout_seconds=_CALL_SECONDS
        )
        return stored.data

    async def execute(
        self,
        endpoint: Endpoint,
        turn: Callable[[], Awaitable[None]],
        *,
        deliveries: int = _MAX_DELIVERIES,
    ) -> CellAnswer | None:
        """Have the executor work on the step until it ends; None if it does not.

        Args:
            endpoint: the executor's, on this cell's ports.
            turn: waits until one more delivery may be made.
            deliveries: at most so many; it is then left for another time.
        """
        message = await self._claimed()
        for attempt in range(1, deliveries + 1):
            if not await self._at_the_provider():
                await turn()
            queued = QueuedMessage(
                message_id=f"{self.cell_id}-{attempt}",
                published_at=rfc3339(self.clock.now()),
                content=message.encode({}),
            )
            await endpoint(push_body(queued, _SUBSCRIPTION, attempt))
            answer = await self.answer()
            if answer is not None:
                return answer
            await asyncio.sleep(await self._pause_seconds())
        return None

    async def _claimed(self) -> JobMessage:
        """The message of the step's job, which is claimed unless it is already."""
        run, job = await self._records()
        if run is None:
            ref = DocumentRef(RUNS, self.case.run_id)
            await self._commit(Create(ref=ref, data=self.asked.run))
            return await self._claimed()
        status = map_at(run.data, "steps", self.case.step_id).get("status")
        if status == StepStatus.RUNNING and job is not None:
            return await self._freed(job)
        return await self._claim(run, job)

    async def _claim(self, run: Snapshot, job: Snapshot | None) -> JobMessage:
        """Claim the step as the dispatcher does; one that has ended begins anew."""
        step_id = StepId(self.case.step_id)
        claim = plan_claim(
            run=parse_flow_run(self.case.run_id, self.asked.run),
            steps=[step_id],
            run_ref=run.ref,
            data=self.asked.run,
            guard=run.version,
            stored_jobs={step_id: job} if job else {},
            claim_id=ClaimId(uuid.uuid4().hex),
            event_id=self.cell_id,
            now=self.clock.now(),
            queued_for=timedelta(days=1),
        )
        await self._commit(*claim.writes)
        [message] = claim.jobs
        return message

    async def _freed(self, job: Snapshot) -> JobMessage:
        """The message of a job whose holder was killed: nobody else works in this folder."""
        record = parse_job_record(job.data)
        if record.state is JobState.RUNNING:
            now = self.clock.now()
            freed = record.release(now=now, not_before=now, error=None)
            await self._commit(update_job(freed, job.version))
        return _message(record)

    async def _at_the_provider(self) -> bool:
        """Whether a call is under way there: looking for its answer takes nobody's turn."""
        _, job = await self._records()
        return job is not None and parse_job_record(job.data).interaction is not None

    async def _pause_seconds(self) -> float:
        _, job = await self._records()
        if job is None:
            return _SHORTEST_PAUSE_SECONDS
        not_before = parse_job_record(job.data).not_before
        wait = (not_before - self.clock.now()).total_seconds() if not_before else 0.0
        return max(wait, _SHORTEST_PAUSE_SECONDS)

    async def _records(self) -> tuple[Snapshot | None, Snapshot | None]:
        run_id, step_id = RunId(self.case.run_id), StepId(self.case.step_id)
        refs = [DocumentRef(RUNS, run_id), job_ref(run_id, step_id)]
        run, job = await self.documents.read(refs, timeout_seconds=_CALL_SECONDS)
        return run, job

    async def _commit(self, *writes: Any) -> None:
        await self.documents.commit(writes, timeout_seconds=_CALL_SECONDS)


def begins_anew(answer: CellAnswer, *, pay_lost_calls: bool) -> bool:
    """Whether a cell that ended so is asked again by the next evaluation.

    A model's own failure is its answer. Where a call was or may have been paid for, and left no
    answer, its author decides whether to pay once more.
    """
    if answer.told:
        return False
    return pay_lost_calls or not (answer.calls and answer.error_code in _PAID_FOR_NOTHING)


def stored_answer(case: Case, report: bytes | None) -> CellAnswer | None:
    """What the step came to in the past; None where it has not been executed."""
    if case.stored is None:
        return None
    code = case.stored.error_code
    error: Mapping[str, Any] | None = {"code": code, "message": ""} if code else None
    return answer_of(case.stored.execution, case.stored.job, report, error)


def _message(record: JobRecord) -> JobMessage:
    return JobMessage(run_id=record.run_id, step_id=record.step_id, claim_id=record.claim_id)
