"""Claiming the executable steps of a run and publishing their jobs, whoever noticed them."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any

from dispatcher.planning import (
    Claim,
    executable_steps,
    jobs_to_publish,
    plan_claim,
    published_elsewhere,
)
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
from shared.domain.trace import TRACEPARENT, TraceContext
from shared.events import Event, EventLogger
from shared.ports import Clock, Conflict, DocumentStore, Queue, StoreUnavailable

#: Short enough that a first try and a read-back fit Eventarc's 10-second acknowledgement.
CALL_TIMEOUT_SECONDS = 3.0
#: Every further try answers a write that came in between; a run that changes faster than
#: this is handed back for redelivery.
MAX_CLAIM_TRIES = 5
_MAX_JITTER_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """What is believed of a run."""

    run: FlowRun
    data: Mapping[str, Any]
    version: Version
    #: Stored job records, as far as they were read.
    jobs: Mapping[StepId, Snapshot] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """What made somebody look at the run."""

    event_id: str
    trace: TraceContext
    log: EventLogger


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """Claims steps. Any number of callers may do so for the same run at the same time."""

    documents: DocumentStore
    queue: Queue
    clock: Clock
    #: The collection of the runs.
    flow_runs: str
    new_id: Callable[[], str]
    random: Random
    #: How long a job may stay queued before the sweep publishes it again.
    queued_for: timedelta

    async def claim(self, view: RunView, cause: Cause) -> int:
        """Claim and publish what is executable in this view; the number of jobs published.

        Nothing that a later write made executable: it has an event of its own, and a
        redelivery of this one would not know that its job is still to be published.

        Raises:
            FirestoreClaimFailed: Firestore did not answer, or the run changed too often.
            QueueUnavailable: a job was claimed and its message not confirmed.
        """
        log, claim_id = cause.log, ClaimId(self.new_id())
        own = steps = executable_steps(view.run)
        published, problem = 0, None
        for attempt in range(1, MAX_CLAIM_TRIES + 1):
            for step_id in steps:
                log.info(Event.READY_STEP_SELECTED, stepId=step_id)
            claim = self._plan(view, steps, claim_id, cause.event_id)
            problem = await self._commit(claim, attempt, log)
            if problem is None:
                return published + await self.publish(claim.jobs, cause)
            await asyncio.sleep(self.random.uniform(0, _MAX_JITTER_SECONDS) * attempt)
            fresh = await self._read(view.run, own, log)
            if fresh is None:
                return published
            jobs = jobs_to_publish(
                list(fresh.jobs.values()),
                fresh.data,
                claim_id=claim_id,
                event_id=cause.event_id,
                now=self.clock.now(),
            )
            published += await self.publish(jobs, cause)
            steps = tuple(step for step in executable_steps(fresh.run) if step in own)
            if not steps:
                self._check_published(fresh, claim_id, cause)
                return published
            view = fresh
        raise FirestoreClaimFailed(f"{MAX_CLAIM_TRIES} tries failed, the last with {problem}")

    def _check_published(self, view: RunView, claim_id: ClaimId, cause: Cause) -> None:
        """Have the event delivered again while its jobs may be left unpublished.

        Raises:
            FirestoreClaimFailed: another delivery claimed them a moment ago.
        """
        if published_elsewhere(
            list(view.jobs.values()),
            claim_id=claim_id,
            event_id=cause.event_id,
            now=self.clock.now(),
        ):
            raise FirestoreClaimFailed("another delivery of this event may be publishing still")

    def _plan(
        self, view: RunView, steps: Sequence[StepId], claim_id: ClaimId, event_id: str
    ) -> Claim:
        return plan_claim(
            run=view.run,
            steps=steps,
            run_ref=self.run_ref(view.run.run_id),
            data=view.data,
            guard=view.version,
            stored_jobs=view.jobs,
            claim_id=claim_id,
            event_id=event_id,
            now=self.clock.now(),
            queued_for=self.queued_for,
        )

    async def _commit(self, claim: Claim, attempt: int, log: EventLogger) -> str | None:
        """Why the claim is not known to be ours, and must be read back; None when it is."""
        try:
            await self.documents.commit(claim.writes, timeout_seconds=CALL_TIMEOUT_SECONDS)
        except (Conflict, StoreUnavailable) as problem:
            outcome = f"{type(problem).__name__}: {problem}"
            log.info(Event.CLAIM_ATTEMPT, attempt=attempt, outcome=outcome)
            return outcome
        log.info(Event.CLAIM_ATTEMPT, attempt=attempt, outcome="claimed")
        return None

    async def _read(
        self, run: FlowRun, steps: Sequence[StepId], log: EventLogger
    ) -> RunView | None:
        refs = [self.run_ref(run.run_id), *(job_ref(run.run_id, step) for step in steps)]
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
        return RunView(
            run=fresh,
            data=document.data,
            version=document.version,
            jobs={step: job for step, job in zip(steps, jobs, strict=True) if job},
        )

    async def publish(self, jobs: Sequence[JobMessage], cause: Cause) -> int:
        """Publish the jobs; their number.

        Raises:
            QueueUnavailable: not all of them were confirmed.
        """
        if jobs:
            attributes = {TRACEPARENT: cause.trace.traceparent()}
            messages = [job.encode(attributes) for job in jobs]
            await self.queue.publish(messages, timeout_seconds=CALL_TIMEOUT_SECONDS)
        for job in jobs:
            cause.log.info(
                Event.JOB_PUBLISHED,
                runId=job.run_id,
                stepId=job.step_id,
                claimId=job.claim_id,
            )
        return len(jobs)

    async def report_invalid(
        self,
        document_id: str,
        data: Mapping[str, Any],
        version: Version,
        problem: FlowRunInvalid,
        log: EventLogger,
    ) -> None:
        """Say on the run what is wrong with it, once.

        Raises:
            FirestoreClaimFailed: Firestore did not answer.
        """
        log.error(
            Event.CLOUD_EVENT_IGNORED, problem.message, code=problem.code, reason="invalid"
        )
        if says_invalid(data):
            return
        write = Update(
            ref=self.run_ref(document_id),
            changes={("error",): problem.as_document()},
            guard=version,
        )
        try:
            await self.documents.commit([write], timeout_seconds=CALL_TIMEOUT_SECONDS)
        except Conflict:
            return  # Written since: the newer version has an event of its own.
        except StoreUnavailable as failure:
            raise FirestoreClaimFailed(f"reporting the run failed: {failure}") from None

    def run_ref(self, run_id: str) -> DocumentRef:
        """Where the run is stored."""
        return DocumentRef(self.flow_runs, run_id)


def says_invalid(data: Mapping[str, Any]) -> bool:
    """Whether the run says already that it is invalid."""
    error = data.get("error")
    return isinstance(error, Mapping) and error.get("code") == ErrorCode.FLOW_RUN_INVALID
