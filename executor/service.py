"""The executor's one use case: a job message in; a report stored, a step finalized."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from random import Random
from typing import assert_never

from executor.background import BackgroundCalls
from executor.calling import ModelCaller
from executor.charging import Charges
from executor.ending import Ending
from executor.finalizing import Finalizer
from executor.inputs import InputReader
from executor.intake import Abandon, Decision, Defer, GiveUp, Idle, Ignore, Proceed, decide
from executor.invocation import Invocation, known_of_run
from executor.lease import CALL_TIMEOUT_SECONDS, HeldJob, LeaseLost
from executor.ledger import SpendLedger
from executor.material import Material, MaterialReader
from executor.outcome import Failed, Outcome, Succeeded
from executor.ports import LanguageModel, ObjectStore
from executor.push import Delivery, PushUnreadable, parse_push
from executor.report_store import ReportStore
from executor.settings import CallPolicy, ExecutorSettings
from executor.supervision import supervised
from executor.turns import RunTurns
from executor.work import Work
from shared.domain.deadline import Deadline
from shared.domain.defects import place_of
from shared.domain.documents import DocumentRef, Snapshot
from shared.domain.errors import (
    FirestoreFinalizeFailed,
    FirestoreUnavailable,
    InternalError,
    RetryableError,
    StepError,
)
from shared.domain.finalize import exhausted
from shared.domain.job_documents import JobRecordInvalid, job_ref, parse_job_record
from shared.domain.jobs import JobRecord
from shared.domain.messages import (
    DEAD_LETTER_REASON,
    REPLAY_OF,
    JobMessage,
    MessageUnreadable,
    OutgoingMessage,
    decode_job_message,
)
from shared.domain.trace import TRACEPARENT, parse_traceparent
from shared.events import Event, EventLogger
from shared.ports import Clock, DocumentStore, Queue, QueueUnavailable, StoreUnavailable


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
    #: Where there is one, calls are made in the background.
    background: BackgroundCalls | None = None
    dead_letters: Queue
    clock: Clock
    log: EventLogger
    settings: ExecutorSettings
    new_id: Callable[[], str]
    random: Random = field(default_factory=Random)
    turns: RunTurns = field(default_factory=RunTurns)
    #: Set when the instance is being stopped: jobs are handed over, and no more are taken.
    draining: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, body: bytes) -> int:
        """Handle one push request; the HTTP status that answers it.

        204 acknowledges the message, 503 or, after a defect, 500 asks for it again, 400 says
        that the request is no Pub/Sub push.
        """
        if self.draining.is_set():
            return HTTPStatus.SERVICE_UNAVAILABLE
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
        if replay_of := delivery.attributes.get(REPLAY_OF):
            log.info(Event.DEAD_LETTER_REPLAYED, replayOf=replay_of)
        try:
            return await self._handle_job(message, log)
        except (FirestoreUnavailable, FirestoreFinalizeFailed, InternalError) as problem:
            log.error(Event.JOB_DEFERRED, problem.message, code=problem.code)
            return HTTPStatus.SERVICE_UNAVAILABLE
        except Exception as defect:  # noqa: BLE001 - the server would log what it says
            log.error(Event.JOB_DEFERRED, place_of(defect), code=InternalError.code)
            return HTTPStatus.INTERNAL_SERVER_ERROR

    async def _reject(self, delivery: Delivery, reason: str, log: EventLogger) -> int:
        """Keep what cannot be read where an operator finds it."""
        log.error(Event.JOB_REJECTED, reason, reason="unreadable")
        attributes = {**delivery.attributes, DEAD_LETTER_REASON: reason}
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
        log = log.bind(attempt=view.record.attempt, **known_of_run(view.run, message.step_id))
        decision: Decision = decide(
            message=message,
            job=view.record,
            run=view.run,
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
                if reason is Idle.ALREADY_FINAL:
                    await self._ending.forget_call(view.record, log, ended=False)
                return HTTPStatus.NO_CONTENT
            case Defer(not_before=not_before):
                log.info(Event.JOB_DEFERRED, notBefore=not_before)
                return HTTPStatus.NO_CONTENT
            case Abandon(reason=abandoned):
                log.info(Event.JOB_NOOP, reason=abandoned)
                await self._abandon(view, log)
                return HTTPStatus.NO_CONTENT
            case GiveUp(run=run):
                return await self._give_up(view, run, deadline, log)
            case Proceed(run=run):
                return await self._proceed(view, run, deadline, log)
            case _:
                assert_never(decision)

    async def _read(self, message: JobMessage) -> _View | None:
        """One batch read; None when the job was never claimed."""
        run_ref = DocumentRef(self.settings.shared.flow_runs, message.run_id)
        hints = [
            DocumentRef(collection, document_id)
            for collection, document_id in (
                (self.settings.prompts, message.prompt_id),
                (self.settings.schemas, message.schema_id),
            )
            if document_id
        ]
        refs = [run_ref, job_ref(message.run_id, message.step_id), *hints]
        run, job, *registry = await self.read_documents(refs)
        if job is None:
            return None
        try:
            record = parse_job_record(job.data)
        except JobRecordInvalid:
            # A newer version may read it, and gets the next delivery; else, a dead letter.
            raise InternalError("the job record is none that this version reads") from None
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

    async def _proceed(
        self, view: _View, run: Snapshot, deadline: Deadline, log: EventLogger
    ) -> int:
        job = self._held(view)
        reserve = (
            self.settings.call_policy is CallPolicy.AT_LEAST_ONCE
            and view.record.interaction is None
            and view.record.llm_calls < self.settings.limits.max_llm_calls
        )
        leased_log = log.bind(attempt=job.record.next_attempt)
        invocation = self._invocation(view, run, job, deadline, leased_log)
        async with self._material.ahead(invocation) as ahead:
            try:
                await job.acquire(reserve_call=reserve)
            except LeaseLost:
                log.info(Event.JOB_NOOP, reason=Idle.LEASE_HELD)
                return HTTPStatus.NO_CONTENT
            return await self._work(invocation, ahead)

    async def _work(self, invocation: Invocation, ahead: Awaitable[Material] | None) -> int:
        job, log = invocation.held, invocation.log
        log.info(Event.LEASE_ACQUIRED, claimId=job.record.claim_id)
        try:
            outcome = await supervised(
                self._worker.make_report(invocation, ahead),
                held=job,
                renew_every=self.settings.limits.renew_every,
                draining=self.draining,
            )
            return await self._ending.end(outcome, invocation)
        except LeaseLost:
            log.warning(Event.LEASE_LOST, claimId=job.record.claim_id)
            return HTTPStatus.NO_CONTENT

    async def _give_up(
        self, view: _View, run: Snapshot, deadline: Deadline, log: EventLogger
    ) -> int:
        """End a job whose last allowed attempt died; a report that it stored still counts."""
        job = self._held(view)
        invocation = self._invocation(view, run, job, deadline, log)
        try:
            report = await self._worker.recovered(invocation)
        except RetryableError as problem:
            log.warning(Event.JOB_DEFERRED, problem.message, code=problem.code)
            return HTTPStatus.SERVICE_UNAVAILABLE
        except StepError:
            report = None
        outcome: Outcome = (
            Succeeded(report=report, answer=None)
            if report is not None
            else Failed(error=exhausted(view.record))
        )
        try:
            await self._finalizer.finish(outcome, run, job, deadline, log, leased=False)
        except LeaseLost:
            log.info(Event.JOB_NOOP, reason=Idle.ALREADY_FINAL)
        else:
            await self._ending.forget_call(view.record, log, ended=False)
        return HTTPStatus.NO_CONTENT

    async def _abandon(self, view: _View, log: EventLogger) -> None:
        try:
            await self._held(view).update(self._finalizer.abandoned)
        except LeaseLost:
            return  # Changed by somebody else meanwhile, who then answers for it.
        await self._ending.forget_call(view.record, log, ended=False)

    def _held(self, view: _View) -> HeldJob:
        return HeldJob(
            documents=self.documents,
            clock=self.clock,
            record=view.record,
            version=view.job.version,
            owner=self.new_id(),
            lease_for=self.settings.limits.lease,
        )

    def _invocation(
        self, view: _View, run: Snapshot, job: HeldJob, deadline: Deadline, log: EventLogger
    ) -> Invocation:
        return Invocation(
            run=run,
            registry=view.registry,
            held=job,
            deadline=deadline,
            clock=self.clock,
            log=log,
        )

    @property
    def _ending(self) -> Ending:
        return Ending(
            finalizer=self._finalizer,
            background=self.background,
            clock=self.clock,
            random=self.random,
            settings=self.settings,
        )

    @property
    def _worker(self) -> Work:
        return Work(
            caller=ModelCaller(
                model=self.model,
                background=self.background,
                clock=self.clock,
                settings=self.settings,
                random=self.random,
                charges=Charges(ledger=self._ledger),
            ),
            material=self._material,
            reports=ReportStore(objects=self.objects),
            clock=self.clock,
            settings=self.settings,
        )

    @property
    def _material(self) -> MaterialReader:
        inputs = InputReader(
            clock=self.clock, settings=self.settings, read_documents=self.read_documents
        )
        return MaterialReader(objects=self.objects, inputs=inputs, settings=self.settings)

    @property
    def _finalizer(self) -> Finalizer:
        return Finalizer(
            documents=self.documents,
            read_documents=self.read_documents,
            clock=self.clock,
            random=self.random,
            turns=self.turns,
            keep_for=self.settings.limits.keep_closed_jobs,
            prices=self.settings.prices,
        )

    @property
    def _ledger(self) -> SpendLedger | None:
        """None without a ceiling: then spending costs no database call."""
        if not self.settings.ceilings:
            return None
        return SpendLedger(
            documents=self.documents,
            clock=self.clock,
            random=self.random,
            prices=self.settings.prices,
            ceilings=self.settings.ceilings,
        )
