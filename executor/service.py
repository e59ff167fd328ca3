"""The executor's one use case: a job message in; a report stored, a step finalized."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from random import Random
from typing import assert_never

from executor.ending import Ending
from executor.inputs.prefetch import Prefetch, Prefetcher
from executor.jobs import intake
from executor.jobs.deadline import Deadline
from executor.jobs.invocation import Invocation, run_labels
from executor.jobs.lease import HeldJob, LeaseLost
from executor.jobs.operator_acts import tell_act
from executor.jobs.outcome import Failed, Succeeded
from executor.jobs.records import JobRecords, RecordReader
from executor.jobs.supervision import supervised
from executor.model_calls.pacing import Pacing
from executor.model_calls.pools import Pool
from executor.model_calls.tiers import TierPolicy
from executor.ports import CALL_TIMEOUT_SECONDS, BackgroundModel, LanguageModel, ObjectStore
from executor.push import Answer, Delivery
from executor.reports.making import ReportMaker
from executor.settings import CallPolicy, ExecutorSettings
from shared.domain.documents import Snapshot
from shared.domain.errors import (
    FirestoreFinalizeFailed,
    FirestoreUnavailable,
    InternalError,
    RetryableError,
    StepError,
)
from shared.domain.finalize import exhausted
from shared.domain.jobs import JobRecord
from shared.domain.messages import (
    DEAD_LETTER_REASON,
    ENDED_CALL,
    REPLAY_OF,
    JobMessage,
    MessageUnreadable,
    OutgoingMessage,
    decode_job_message,
    storable_attributes,
)
from shared.domain.trace import TRACEPARENT, parse_traceparent
from shared.log import EventLogger, LogEvent
from shared.ports import Clock, DocumentStore, PortFailure, Queue


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorPorts:
    """All that an executor needs from outside; `wiring.assemble` makes an executor of them."""

    documents: DocumentStore
    objects: ObjectStore
    model: LanguageModel
    #: Where there is one, calls are made in the background.
    background: BackgroundModel | None = None
    dead_letters: Queue
    clock: Clock
    log: EventLogger
    #: Makes ids that nobody else makes, such as a lease's owner.
    new_id: Callable[[], str]
    random: Random = field(default_factory=Random)
    #: Set when the instance is being stopped: jobs are handed over, and no more are taken.
    draining: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True, kw_only=True)
class Executor:
    """Works on jobs. Any number of executors may get the same message at the same time."""

    records: RecordReader
    prefetcher: Prefetcher
    maker: ReportMaker
    ending: Ending
    pacing: Pacing
    tiers: TierPolicy
    #: Where the lease is written.
    documents: DocumentStore
    dead_letters: Queue
    clock: Clock
    random: Random
    log: EventLogger
    settings: ExecutorSettings
    new_id: Callable[[], str]
    #: Set when the instance is being stopped: jobs are handed over, and no more are taken.
    draining: asyncio.Event

    async def handle(self, delivery: Delivery) -> Answer:
        """Do what the message asks for, and say what becomes of it."""
        if self.draining.is_set():
            return Answer.AGAIN
        started = self.clock.monotonic()
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
        log.info(LogEvent.JOB_RECEIVED)
        if replay_of := delivery.attributes.get(REPLAY_OF):
            log.info(LogEvent.DEAD_LETTER_REPLAYED, replayOf=replay_of)
        try:
            ended_call = delivery.attributes.get(ENDED_CALL) or None
            return await self._handle_job(message, ended_call, started, log)
        except (FirestoreUnavailable, FirestoreFinalizeFailed, InternalError) as problem:
            log.error(LogEvent.JOB_DEFERRED, problem.message, code=problem.code)
            return Answer.AGAIN

    async def _reject(self, delivery: Delivery, reason: str, log: EventLogger) -> Answer:
        """Move an unreadable message to the dead-letter topic, where an operator finds it."""
        log.error(LogEvent.JOB_REJECTED, reason, reason="unreadable")
        attributes = {**storable_attributes(delivery.attributes), DEAD_LETTER_REASON: reason}
        letter = OutgoingMessage(data=delivery.data, attributes=attributes)
        try:
            await self.dead_letters.publish([letter], timeout_seconds=CALL_TIMEOUT_SECONDS)
        except PortFailure as problem:
            # Pub/Sub forwards it by itself, once it was refused often enough.
            log.error(LogEvent.JOB_DEFERRED, f"the dead letter was not taken: {problem}")
            return Answer.AGAIN
        return Answer.ACK

    async def _handle_job(
        self, message: JobMessage, ended_call: str | None, started: float, log: EventLogger
    ) -> Answer:
        found = await self.records.of_message(message)
        if found is None:
            log.info(LogEvent.JOB_NOOP, reason=intake.Idle.JOB_MISSING)
            return Answer.ACK
        log = log.bind(attempt=found.job.attempt, **run_labels(found.run, message.step_id))
        if found.job.attempt == 0 or found.job.closed:
            tell_act(found.job, log)
        now, held = self.clock.now(), self._held(found)
        if found.run is None:
            no_work = intake.decide_without_run(message=message, job=found.job, now=now)
            return await self._let_go(no_work, held, log)
        decision = intake.decide(
            message=message,
            job=found.job,
            run=found.run.data,
            max_attempts=self.settings.limits.max_attempts,
            now=now,
            ended_call=ended_call,
            hook_wait=self.settings.gemini.hook_wait,
        )
        invocation = replace(
            self._invocation(found.run, found, held, started, log), announced=ended_call
        )
        match decision:
            case intake.GiveUp():
                return await self._give_up(invocation)
            case intake.Proceed(hint=hint):
                if hint is None:
                    return await self._begin(found, invocation)
                return await self._follow(hint, message, invocation, started)
            case (
                intake.Ignore()
                | intake.Defer()
                | intake.AwaitHook()
                | intake.ComeAgain()
                | intake.Abandon()
            ):
                return await self._let_go(decision, held, log)
            case _:
                assert_never(decision)

    async def _follow(
        self, hint: str, message: JobMessage, invocation: Invocation, started: float
    ) -> Answer:
        """Take the job up if the call that a hook named is the one whose id it lacks."""
        held, log = invocation.held, invocation.log
        try:
            background = self.ending.background
            call = await background.found(hint, held.record) if background else None
        except StepError as problem:
            log.warning(LogEvent.JOB_DEFERRED, problem.message, code=problem.code)
            return Answer.AGAIN
        log.info(LogEvent.LLM_BACKGROUND_FOUND, own=call is not None)
        if call is None:
            # Nobody believes it: the message is worth what any other is.
            return await self._handle_job(message, None, started, log)
        held.note(partial(JobRecord.begin_in_background, call=call))
        return await self._proceed(invocation)

    async def _let_go(self, decision: intake.NoWork, held: HeldJob, log: EventLogger) -> Answer:
        match decision:
            case intake.Ignore(reason=reason):
                log.info(LogEvent.JOB_NOOP, reason=reason)
                if reason is intake.Idle.ALREADY_FINAL:
                    await self.ending.forget_call(held.record, log, ended=False)
                    if not await self.ending.settle(held.record, log):
                        return Answer.AGAIN
            case intake.Defer(not_before=not_before):
                log.info(LogEvent.JOB_DEFERRED, notBefore=not_before)
            case intake.AwaitHook(until=until):
                await self._await_hook(held, until, log)
            case intake.ComeAgain():
                log.info(LogEvent.JOB_DEFERRED, "a holder is at work: the hook comes again")
                return Answer.AGAIN
            case intake.Abandon(reason=abandoned):
                log.info(LogEvent.JOB_NOOP, reason=abandoned)
                await self.ending.abandon(held, log)
            case _:
                assert_never(decision)
        return Answer.ACK

    async def _await_hook(self, held: HeldJob, until: datetime, log: EventLogger) -> None:
        """Leave the job alone until then, or until a hook brings the id that it lacks."""
        try:
            await held.update(partial(JobRecord.await_hook, until=until))
        except LeaseLost:
            log.info(LogEvent.JOB_NOOP, reason=intake.Idle.LEASE_HELD)
        else:
            log.warning(
                LogEvent.LLM_BACKGROUND_AWAITED, "a holder died beginning it", notBefore=until
            )

    async def _begin(self, found: JobRecords, invocation: Invocation) -> Answer:
        """Take the lease, unless it is plain that the job has to wait for the provider."""
        model, job = invocation.model, found.job
        for pace in found.paces:
            self.pacing.learn(pace)
        if model is not None and not job.may_have_begun:
            tier = self.tiers.choice(invocation, self.clock.now()).tier
            if self.pacing.must_wait(job, Pool(model, tier)):
                return await self.ending.queue_unleased(invocation)
        return await self._proceed(invocation)

    async def _proceed(self, invocation: Invocation) -> Answer:
        held = invocation.held
        async with self.prefetcher.prefetched(invocation) as prefetch:
            try:
                await held.acquire(reserve_call=self._reserves_call(held.with_notes))
            except LeaseLost:
                return _overtaken(invocation)
            log = invocation.log.bind(attempt=held.record.attempt)
            return await self._run_leased(replace(invocation, log=log), prefetch)

    async def _run_leased(
        self, invocation: Invocation, prefetch: Awaitable[Prefetch] | None
    ) -> Answer:
        job, log = invocation.held, invocation.log
        log.info(LogEvent.LEASE_ACQUIRED, claimId=job.record.claim_id)
        try:
            outcome = await supervised(
                self.maker.make_report(invocation, prefetch),
                held=job,
                renew_every=self.settings.limits.renew_every,
                draining=self.draining,
            )
            return await self.ending.end(outcome, invocation)
        except LeaseLost as lost:
            log.warning(LogEvent.LEASE_LOST, claimId=job.record.claim_id)
            tell_act(lost.found, log)
            # Who saw no other holder may hold it still: a renewal was under way.
            return Answer.ACK if lost.found else Answer.AGAIN

    async def _give_up(self, invocation: Invocation) -> Answer:
        """End a job whose last allowed attempt died; a report that it stored still counts."""
        try:
            report = await self.maker.recovered(invocation)
        except RetryableError as problem:
            invocation.log.warning(LogEvent.JOB_DEFERRED, problem.message, code=problem.code)
            return Answer.AGAIN
        except StepError:
            report = None
        return await self.ending.give_up(
            Succeeded(report=report, answer=None)
            if report is not None
            else Failed(error=exhausted(invocation.held.record)),
            invocation,
        )

    def _reserves_call(self, job: JobRecord) -> bool:
        """Whether the lease books the first model call too, which saves a commit.

        Not where hooks come: a booked call whose holder died is waited for, so it is booked
        when it begins.
        """
        return (
            self.settings.gemini.hook_wait is None
            and self.settings.call_policy is CallPolicy.AT_LEAST_ONCE
            and job.interaction is None
            and job.llm_calls < self.settings.limits.max_llm_calls
        )

    def _held(self, found: JobRecords) -> HeldJob:
        return HeldJob(
            documents=self.documents,
            clock=self.clock,
            record=found.job,
            version=found.version,
            owner=self.new_id(),
            lease_for=self.settings.limits.lease,
            random=self.random,
        )

    def _invocation(
        self,
        run: Snapshot,
        found: JobRecords,
        held: HeldJob,
        started: float,
        log: EventLogger,
    ) -> Invocation:
        return Invocation(
            run=run,
            registry=found.registry,
            held=held,
            started=started,
            deadline=Deadline(
                clock=self.clock,
                ends_at=started + self.settings.invocation_seconds,
                reserve_seconds=self.settings.finalize_seconds,
            ),
            log=log,
        )


def _overtaken(invocation: Invocation) -> Answer:
    """Another delivery was faster. It may know nothing of the hook, which must not be lost."""
    call = invocation.held.with_notes.interaction
    if call is not None and call.id == invocation.announced:
        invocation.log.info(LogEvent.JOB_DEFERRED, "another was faster: the hook comes again")
        return Answer.AGAIN
    invocation.log.info(LogEvent.JOB_NOOP, reason=intake.Idle.LEASE_HELD)
    return Answer.ACK
