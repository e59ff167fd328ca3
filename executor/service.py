"""The executor's one use case: a job message in; a report stored, a step finalized."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import assert_never

from executor.intake import (
    Abandon,
    Decision,
    Defer,
    GiveUp,
    Idle,
    Ignore,
    Proceed,
    decide,
    nothing_to_work_on,
)
from executor.lease import CALL_TIMEOUT_SECONDS, HeldJob, LeaseLost
from executor.outcome import (
    Failed,
    Outcome,
    Succeeded,
    finalize_writes,
    last_error,
    step_started_at,
)
from executor.ports import LanguageModel, ObjectStore
from executor.push import Delivery, PushUnreadable, parse_push
from executor.settings import ExecutorSettings
from executor.work import ReportJob, Work, WorkFailed
from shared.domain.deadline import Deadline
from shared.domain.documents import DocumentRef, Snapshot, Version
from shared.domain.errors import (
    AttemptsExhausted,
    FirestoreFinalizeFailed,
    FirestoreUnavailable,
    StepError,
)
from shared.domain.identifiers import RunId
from shared.domain.jobs import JobMove, JobRecord, JobRecordInvalid, job_ref, parse_job_record
from shared.domain.messages import (
    JobMessage,
    MessageUnreadable,
    OutgoingMessage,
    decode_job_message,
)
from shared.domain.trace import TRACEPARENT, parse_traceparent
from shared.events import Event, EventLogger
from shared.ports import (
    Clock,
    Conflict,
    DocumentStore,
    Queue,
    QueueUnavailable,
    StoreUnavailable,
)

#: Many steps of one run may end at once; each loser reads back and tries again.
MAX_FINALIZE_TRIES = 20
_MAX_JITTER_SECONDS = 0.25
#: Wait before another attempt, doubled with each.
_FIRST_BACKOFF = timedelta(seconds=1)
_LONGEST_BACKOFF = timedelta(seconds=600)
_DEAD_LETTER_REASON = "workerReason"


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """The records that a message leads to, read at one moment."""

    run: Snapshot | None
    job: Snapshot
    record: JobRecord
    registry: Mapping[DocumentRef, Snapshot | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """Works on jobs. Any number of executors may get the same message at the same time."""

    documents: DocumentStore
    objects: ObjectStore
    model: LanguageModel
    dead_letters: Queue
    clock: Clock
    log: EventLogger
    settings: ExecutorSettings
    new_id: Callable[[], str]

    async def handle(self, body: bytes) -> int:
        """Handle one push request; the HTTP status that answers it.

        204 acknowledges the message, 503 asks for it again, 400 says that the request is no
        Pub/Sub push.
        """
        try:
            delivery = parse_push(body)
        except PushUnreadable as problem:
            self.log.error(Event.JOB_REJECTED, str(problem), reason="not_a_push")
            return HTTPStatus.BAD_REQUEST
        trace = parse_traceparent(delivery.attributes.get(TRACEPARENT))
        log = self.log.bind(
            messageId=delivery.message_id,
            deliveryAttempt=delivery.attempt,
            **(trace.log_fields(self.settings.shared.project) if trace else {}),
        )
        try:
            message = decode_job_message(delivery.data)
        except MessageUnreadable as problem:
            return await self._reject(delivery, str(problem), log)
        log = log.bind(runId=message.run_id, stepId=message.step_id)
        log.info(Event.JOB_RECEIVED)
        try:
            return await self._handle_job(message, log)
        except (FirestoreUnavailable, FirestoreFinalizeFailed) as problem:
            log.error(Event.JOB_DEFERRED, problem.message, code=problem.code)
            return HTTPStatus.SERVICE_UNAVAILABLE

    async def _reject(self, delivery: Delivery, reason: str, log: EventLogger) -> int:
        """Keep what cannot be read where an operator finds it."""
        log.error(Event.JOB_REJECTED, reason, reason="unreadable")
        attributes = {**delivery.attributes, _DEAD_LETTER_REASON: reason}
        letter = OutgoingMessage(data=delivery.data, attributes=attributes)
        try:
            await self.dead_letters.publish([letter], timeout_seconds=CALL_TIMEOUT_SECONDS)
        except QueueUnavailable:
            return HTTPStatus.SERVICE_UNAVAILABLE
        return HTTPStatus.NO_CONTENT

    async def _handle_job(self, message: JobMessage, log: EventLogger) -> int:
        started = self.clock.monotonic()
        view = await self._read(message)
        if view is None:
            log.info(Event.JOB_NOOP, reason=Idle.JOB_MISSING)
            return HTTPStatus.NO_CONTENT
        log = log.bind(attempt=view.record.attempt, **_known_of_run(view.run, message.step_id))
        decision: Decision = decide(
            message=message,
            job=view.record,
            run=view.run.data if view.run else None,
            max_attempts=self.settings.limits.max_attempts,
            now=self.clock.now(),
        )
        deadline = Deadline(
            ends_at=started + self.settings.invocation_seconds,
            reserve_seconds=self.settings.finalize_seconds,
        )
        match decision:
            case Ignore(reason=reason):
                log.info(Event.JOB_NOOP, reason=reason)
                return HTTPStatus.NO_CONTENT
            case Defer(not_before=not_before):
                log.info(Event.JOB_DEFERRED, notBefore=not_before)
                return HTTPStatus.SERVICE_UNAVAILABLE
            case Abandon(reason=abandoned):
                log.info(Event.JOB_NOOP, reason=abandoned)
                await self._abandon(view)
                return HTTPStatus.NO_CONTENT
            case GiveUp():
                return await self._give_up(view, deadline, log)
            case Proceed():
                return await self._proceed(view, deadline, log)
            case _:
                assert_never(decision)

    async def _read(self, message: JobMessage) -> _View | None:
        """One batch read; None when the job was never claimed, or is not ours to read."""
        run_ref = self._run_ref(message.run_id)
        hints = [
            *([self._prompt_ref(message.prompt_id)] if message.prompt_id else []),
            *([self._schema_ref(message.schema_id)] if message.schema_id else []),
        ]
        refs = [run_ref, job_ref(message.run_id, message.step_id), *hints]
        run, job, *registry = await self.read_documents(refs)
        if job is None:
            return None
        try:
            record = parse_job_record(job.data)
        except JobRecordInvalid:
            return None
        found = dict(zip(hints, registry, strict=True))
        return _View(run=run, job=job, record=record, registry=found)

    async def read_documents(self, refs: Sequence[DocumentRef]) -> Sequence[Snapshot | None]:
        """Documents as of one moment.

        Raises:
            FirestoreUnavailable: no answer in time.
        """
        try:
            return await self.documents.read(refs, timeout_seconds=CALL_TIMEOUT_SECONDS)
        except StoreUnavailable as problem:
            raise FirestoreUnavailable(f"reading failed: {problem}") from None

    async def _proceed(self, view: _View, deadline: Deadline, log: EventLogger) -> int:
        if view.run is None:
            return HTTPStatus.NO_CONTENT
        job = self._held(view)
        try:
            await job.acquire(max_llm_calls=self.settings.limits.max_llm_calls)
        except LeaseLost:
            log.info(Event.JOB_NOOP, reason=Idle.LEASE_HELD)
            return HTTPStatus.NO_CONTENT
        log = log.bind(attempt=job.record.attempt)
        log.info(Event.LEASE_ACQUIRED, claimId=job.record.claim_id)
        try:
            outcome = await self._work(view, view.run, job, deadline, log)
            return await self._end(outcome, view, view.run, job, deadline, log)
        except LeaseLost:
            log.warning(Event.LEASE_LOST, claimId=job.record.claim_id)
            return HTTPStatus.NO_CONTENT

    async def _work(
        self, view: _View, run: Snapshot, job: HeldJob, deadline: Deadline, log: EventLogger
    ) -> Outcome:
        """Work while the lease is kept; losing it cancels the work at once."""
        work = Work(
            objects=self.objects,
            model=self.model,
            clock=self.clock,
            settings=self.settings,
            read_documents=self.read_documents,
        )
        report = ReportJob(
            run=run, registry=view.registry, held=job, deadline=deadline, log=log
        )
        working = asyncio.create_task(work.make_report(report))
        keeping = asyncio.create_task(job.keep(self.settings.limits.renew_every))
        try:
            await asyncio.wait({working, keeping}, return_when=asyncio.FIRST_COMPLETED)
            if keeping.done():
                keeping.result()
            return await working
        except WorkFailed as failure:
            return Failed(error=failure.error, answer=failure.answer)
        finally:
            for task in (working, keeping):
                task.cancel()
            await asyncio.gather(working, keeping, return_exceptions=True)

    async def _end(
        self,
        outcome: Outcome,
        view: _View,
        run: Snapshot,
        job: HeldJob,
        deadline: Deadline,
        log: EventLogger,
    ) -> int:
        limits = self.settings.limits
        if (
            isinstance(outcome, Failed)
            and outcome.error.retryable
            and job.record.attempt < limits.max_attempts
        ):
            await self._release(outcome.error, job, log)
            return HTTPStatus.SERVICE_UNAVAILABLE
        await self._finalize(outcome, view.record, run, job, deadline, log)
        return HTTPStatus.NO_CONTENT

    async def _release(self, error: StepError, job: HeldJob, log: EventLogger) -> None:
        """Give the job back for another attempt."""
        backoff = min(_FIRST_BACKOFF * 2 ** (job.record.attempt - 1), _LONGEST_BACKOFF)
        asked = getattr(error, "retry_after", None) or timedelta(0)
        not_before = self.clock.now() + max(backoff, asked)
        await job.update(
            lambda _: job.settled.release(not_before=not_before, error=last_error(error))
        )
        log.warning(Event.JOB_DEFERRED, error.message, code=error.code, notBefore=not_before)

    async def _give_up(self, view: _View, deadline: Deadline, log: EventLogger) -> int:
        if view.run is None:
            return HTTPStatus.NO_CONTENT
        last = view.record.last_error
        error = AttemptsExhausted(
            f"{view.record.attempt} attempts began and none ended",
            details={"lastCode": last.code, "lastMessage": last.message} if last else None,
        )
        job = self._held(view)
        try:
            await self._finalize(
                Failed(error=error), view.record, view.run, job, deadline, log, leased=False
            )
        except LeaseLost:
            log.info(Event.JOB_NOOP, reason=Idle.ALREADY_FINAL)
        return HTTPStatus.NO_CONTENT

    async def _finalize(
        self,
        outcome: Outcome,
        claimed: JobRecord,
        run: Snapshot,
        job: HeldJob,
        deadline: Deadline,
        log: EventLogger,
        *,
        leased: bool = True,
    ) -> None:
        """Write the outcome; while others write the run too, read back and try again."""
        started_at = step_started_at(run.data, claimed)
        run_version = run.version
        for attempt in range(1, MAX_FINALIZE_TRIES + 1):
            if deadline.remaining(self.clock.monotonic()) <= 0:
                break
            writes = finalize_writes(
                outcome=outcome,
                run_ref=run.ref,
                run_version=run_version,
                job=job.settled,
                job_version=job.version,
                started_at=started_at,
                now=self.clock.now(),
                keep_closed=self.settings.limits.keep_closed_jobs,
            )
            try:
                await self.documents.commit(writes, timeout_seconds=CALL_TIMEOUT_SECONDS)
            except (Conflict, StoreUnavailable):
                await asyncio.sleep(random.uniform(0, _MAX_JITTER_SECONDS * attempt))  # noqa: S311
                fresh = await self._current(run.ref, job, log, leased=leased)
                if fresh is None:
                    return
                run_version = fresh
            else:
                self._log_outcome(outcome, job, log)
                return
        raise FirestoreFinalizeFailed("the outcome could not be written in time")

    async def _current(
        self, run_ref: DocumentRef, job: HeldJob, log: EventLogger, *, leased: bool
    ) -> Version | None:
        """The run's version to finalize on; None when the step has ended already."""
        run, stored = await self.read_documents([run_ref, job.record.ref])
        if stored is None:
            raise LeaseLost
        record = parse_job_record(stored.data)
        if record.claim_id != job.record.claim_id:
            raise LeaseLost
        if record.closed:
            log.info(Event.JOB_NOOP, reason=Idle.ALREADY_FINAL)
            return None
        if leased:
            job.adopt(record, stored.version)
        elif stored.version != job.version:
            raise LeaseLost
        gone = nothing_to_work_on(run.data if run else None, record.step_id)
        if gone is not None or run is None:
            log.info(Event.JOB_NOOP, reason=gone)
            await job.update(self._abandoned)
            return None
        return run.version

    async def _abandon(self, view: _View) -> None:
        try:
            await self._held(view).update(self._abandoned)
        except LeaseLost:
            return  # Changed by somebody else meanwhile, who then answers for it.

    def _abandoned(self, record: JobRecord) -> JobRecord:
        expire_at = self.clock.now() + self.settings.limits.keep_closed_jobs
        return record.close(JobMove.ABANDON, expire_at=expire_at)

    def _held(self, view: _View) -> HeldJob:
        return HeldJob(
            documents=self.documents,
            clock=self.clock,
            record=view.record,
            version=view.job.version,
            owner=self.new_id(),
            lease_for=self.settings.limits.lease,
        )

    def _log_outcome(self, outcome: Outcome, job: HeldJob, log: EventLogger) -> None:
        if isinstance(outcome, Succeeded):
            log.info(
                Event.STEP_COMPLETED,
                uri=str(outcome.report.uri),
                reused=outcome.report.reused,
                llmCalls=job.settled.llm_calls,
            )
        else:
            log.error(
                Event.STEP_FAILED,
                outcome.error.message,
                code=outcome.error.code,
                llmCalls=job.settled.llm_calls,
            )

    def _run_ref(self, run_id: RunId) -> DocumentRef:
        return DocumentRef(self.settings.shared.flow_runs, run_id)

    def _prompt_ref(self, prompt_id: str) -> DocumentRef:
        return DocumentRef(self.settings.prompts, prompt_id)

    def _schema_ref(self, schema_id: str) -> DocumentRef:
        return DocumentRef(self.settings.schemas, schema_id)


def _known_of_run(run: Snapshot | None, step_id: str) -> dict[str, str]:
    """What every entry about the step says of its run, as far as the run holds it."""
    data = run.data if run else {}
    steps, scope = data.get("steps"), data.get("scope")
    step = steps.get(step_id) if isinstance(steps, Mapping) else None
    known = {
        "flowKey": data.get("flowKey"),
        "timeframe": step.get("timeframe") if isinstance(step, Mapping) else None,
        "symbol": scope.get("symbol") if isinstance(scope, Mapping) else None,
    }
    return {name: value[:128] for name, value in known.items() if isinstance(value, str)}
