"""The dispatcher's one use case: an event in; claimed steps and published jobs out."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from dispatcher.change import DocumentState, EventUnreadable, decode_change
from dispatcher.planning import (
    Claim,
    Noop,
    executable_steps,
    is_worker_owned,
    jobs_to_publish,
    plan_claim,
    reason_for_nothing,
)
from dispatcher.settings import DispatcherSettings
from shared.domain.documents import DocumentRef, Snapshot, Update, Version
from shared.domain.errors import (
    ErrorCode,
    FirestoreClaimFailed,
    FlowRunInvalid,
    FlowRunNotFound,
)
from shared.domain.flow_run import FlowRun, parse_flow_run
from shared.domain.identifiers import ClaimId, StepId
from shared.domain.job_documents import job_ref
from shared.domain.messages import JobMessage
from shared.domain.trace import TRACEPARENT, TraceContext, parse_traceparent, trace_of_event
from shared.events import Event, EventLogger
from shared.ports import (
    Clock,
    Conflict,
    DocumentStore,
    Queue,
    QueueUnavailable,
    StoreUnavailable,
)

#: Short enough that a first try and a read-back fit Eventarc's 10-second acknowledgement.
CALL_TIMEOUT_SECONDS = 3.0
#: Every further try answers a write that came in between; a run that changes faster than
#: this is handed back for redelivery.
MAX_CLAIM_TRIES = 5
_MAX_JITTER_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """What the dispatcher believes of a run, and how it came to know."""

    run: FlowRun
    data: Mapping[str, Any]
    version: Version
    jobs: Mapping[StepId, Snapshot]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cause:
    """The event that is being handled."""

    event_id: str
    trace: TraceContext
    log: EventLogger


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatcher:
    """Turns events into claimed steps and published jobs.

    An event that is handled, or that asks for nothing, returns; an exception asks for its
    redelivery. Any number of dispatchers may work on the same run, or on the same event.
    """

    documents: DocumentStore
    queue: Queue
    clock: Clock
    log: EventLogger
    settings: DispatcherSettings
    new_id: Callable[[], str]
    random: Random = field(default_factory=Random)

    async def handle(self, attributes: Mapping[str, str], data: bytes) -> None:
        """Handle one CloudEvent, given its context attributes and its data.

        Raises:
            FirestoreClaimFailed: Firestore did not answer, or the run changed too often.
            QueueUnavailable: a job was claimed and its message not confirmed.
        """
        event_id, subject = attributes.get("id", ""), attributes.get("subject", "")
        trace = parse_traceparent(attributes.get(TRACEPARENT)) or trace_of_event(event_id)
        log = self.log.bind(eventId=event_id, **trace.log_fields(self.settings.shared.project))
        log.debug(Event.CLOUD_EVENT_RECEIVED, subject=subject[:256])
        document_id = self._run_document(subject)
        if document_id is None:
            log.warning(Event.CLOUD_EVENT_IGNORED, reason="other_collection")
            return
        log = log.bind(runId=document_id[:256])
        try:
            change = decode_change(data)
        except EventUnreadable as problem:
            log.error(Event.CLOUD_EVENT_IGNORED, str(problem), reason="unreadable")
            return
        if change.new is None:
            log.info(
                Event.CLOUD_EVENT_IGNORED,
                reason="document_deleted",
                code=FlowRunNotFound.code,
            )
            return
        cause = _Cause(event_id=event_id, trace=trace, log=log)
        try:
            await self._handle_run(document_id, change.old, change.new, cause)
        except (FirestoreClaimFailed, QueueUnavailable) as problem:
            code = getattr(problem, "code", None)
            log.error(Event.CLOUD_EVENT_FINISHED, str(problem), code=code, outcome="redeliver")
            raise

    async def _handle_run(
        self,
        document_id: str,
        old: DocumentState | None,
        new: DocumentState,
        cause: _Cause,
    ) -> None:
        log = cause.log
        try:
            run = parse_flow_run(document_id, new.data)
        except FlowRunInvalid as problem:
            await self._report_invalid(document_id, new, problem, log)
            return
        log = log.bind(flowKey=run.flow_key, symbol=run.symbol)
        steps = executable_steps(run)
        if not steps:
            log.info(Event.CLOUD_EVENT_NOOP, reason=reason_for_nothing(run))
            return
        log.info(Event.CLOUD_EVENT_PARSED, flowRunSteps=_steps_for_log(run))
        if is_worker_owned(_parsed(document_id, old), run):
            log.info(Event.CLOUD_EVENT_NOOP, reason=Noop.WORKER_OWNED_CHANGE)
            return
        view = _View(run=run, data=new.data, version=new.version, jobs={})
        published = await self._claim(view, steps, replace(cause, log=log))
        if published:
            log.info(Event.CLOUD_EVENT_FINISHED, jobs=published)
        else:
            log.info(Event.CLOUD_EVENT_NOOP, reason=Noop.CLAIM_CONFLICT)

    async def _claim(self, view: _View, steps: Sequence[StepId], cause: _Cause) -> int:
        """Claim and publish until nothing is executable; the number of jobs published."""
        log, claim_id = cause.log, ClaimId(self.new_id())
        seen, published = set(steps), 0
        for attempt in range(1, MAX_CLAIM_TRIES + 1):
            for step_id in steps:
                log.info(Event.READY_STEP_SELECTED, stepId=step_id)
            claim = self._plan(view, claim_id, cause.event_id)
            outcome = await self._commit(claim, attempt, log)
            if outcome:
                return published + await self._publish(claim.jobs, cause)
            await asyncio.sleep(self.random.uniform(0, _MAX_JITTER_SECONDS) * attempt)
            fresh = await self._read(view.run, seen, log)
            if fresh is None:
                return published
            jobs = jobs_to_publish(
                list(fresh.jobs.values()),
                fresh.data,
                claim_id=claim_id,
                event_id=cause.event_id,
                now=self.clock.now(),
            )
            published += await self._publish(jobs, cause)
            steps = executable_steps(fresh.run)
            if not steps:
                return published
            seen |= set(steps)
            view = fresh
        raise FirestoreClaimFailed(f"the run changed during each of {MAX_CLAIM_TRIES} tries")

    def _plan(self, view: _View, claim_id: ClaimId, event_id: str) -> Claim:
        return plan_claim(
            run=view.run,
            run_ref=self._run_ref(view.run.run_id),
            data=view.data,
            guard=view.version,
            stored_jobs=view.jobs,
            claim_id=claim_id,
            event_id=event_id,
            now=self.clock.now(),
        )

    async def _commit(self, claim: Claim, attempt: int, log: EventLogger) -> bool:
        """Whether the claim is known to be ours; False asks for reading back."""
        try:
            await self.documents.commit(claim.writes, timeout_seconds=CALL_TIMEOUT_SECONDS)
        except (Conflict, StoreUnavailable) as problem:
            log.info(Event.CLAIM_ATTEMPT, attempt=attempt, outcome=type(problem).__name__)
            return False
        log.info(Event.CLAIM_ATTEMPT, attempt=attempt, outcome="claimed")
        return True

    async def _read(self, run: FlowRun, seen: set[StepId], log: EventLogger) -> _View | None:
        steps = sorted(seen)
        refs = [self._run_ref(run.run_id), *(job_ref(run.run_id, step) for step in steps)]
        try:
            document, *jobs = await self.documents.read(
                refs, timeout_seconds=CALL_TIMEOUT_SECONDS
            )
        except StoreUnavailable as problem:
            raise FirestoreClaimFailed(f"reading back failed: {problem}") from None
        if document is None:
            log.info(Event.CLOUD_EVENT_IGNORED, code=FlowRunNotFound.code, reason="run_deleted")
            return None
        try:
            fresh = parse_flow_run(run.run_id, document.data)
        except FlowRunInvalid:
            # The write that broke the run has an event of its own, which reports it.
            return None
        return _View(
            run=fresh,
            data=document.data,
            version=document.version,
            jobs={step: job for step, job in zip(steps, jobs, strict=True) if job},
        )

    async def _publish(self, jobs: Sequence[JobMessage], cause: _Cause) -> int:
        if jobs:
            attributes = {TRACEPARENT: cause.trace.traceparent()}
            messages = [job.encode(attributes) for job in jobs]
            await self.queue.publish(messages, timeout_seconds=CALL_TIMEOUT_SECONDS)
        for job in jobs:
            cause.log.info(Event.JOB_PUBLISHED, stepId=job.step_id, claimId=job.claim_id)
        return len(jobs)

    async def _report_invalid(
        self, document_id: str, state: DocumentState, problem: FlowRunInvalid, log: EventLogger
    ) -> None:
        """Say on the run what is wrong with it, once."""
        log.error(
            Event.CLOUD_EVENT_IGNORED, problem.message, code=problem.code, reason="invalid"
        )
        error = state.data.get("error")
        if isinstance(error, Mapping) and error.get("code") == ErrorCode.FLOW_RUN_INVALID:
            return
        ref = DocumentRef(self.settings.shared.flow_runs, document_id)
        write = Update(
            ref=ref, changes={("error",): problem.as_document()}, guard=state.version
        )
        try:
            await self.documents.commit([write], timeout_seconds=CALL_TIMEOUT_SECONDS)
        except Conflict:
            return  # Written since: the newer version has an event of its own.
        except StoreUnavailable as failure:
            raise FirestoreClaimFailed(f"reporting the run failed: {failure}") from None

    def _run_document(self, subject: str) -> str | None:
        prefix = f"documents/{self.settings.shared.flow_runs}/"
        document_id = subject.removeprefix(prefix)
        if document_id == subject or not document_id or "/" in document_id:
            return None
        return document_id

    def _run_ref(self, run_id: str) -> DocumentRef:
        return DocumentRef(self.settings.shared.flow_runs, run_id)


def _parsed(document_id: str, state: DocumentState | None) -> FlowRun | None:
    try:
        return parse_flow_run(document_id, state.data) if state else None
    except FlowRunInvalid:
        return None


def _steps_for_log(run: FlowRun) -> list[dict[str, Any]]:
    return [
        {
            "id": step_id,
            "stepType": step.step_type,
            "status": step.status,
            "dependsOn": list(step.depends_on or ()),
        }
        for step_id, step in sorted(run.steps.items())
    ]
