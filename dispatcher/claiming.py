"""Claims the executable steps of a run and publishes their jobs, for dispatcher and sweep."""

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
from dispatcher.refusing import CALL_TIMEOUT_SECONDS, Refusing, with_room
from shared.domain.document_size import room_left
from shared.domain.documents import DocumentRef, Snapshot, Version
from shared.domain.errors import (
    FirestoreClaimFailed,
    FlowRunInvalid,
    FlowRunNotFound,
)
from shared.domain.flow_run import FlowRun, parse_flow_run
from shared.domain.identifiers import ClaimId, StepId
from shared.domain.job_documents import job_ref
from shared.domain.messages import JobMessage
from shared.domain.trace import TRACEPARENT, TraceContext
from shared.guarded import Backoff, Done, Tries, guarded
from shared.log import EventLogger, LogEvent
from shared.ports import Clock, DocumentStore, PortFailure, Queue, StoreRefused

#: Another try is needed when somebody wrote the run in between. After the last one the event is
#: handed back for redelivery.
TRIES = Tries(limit=5, backoff=Backoff(first_seconds=0.1, longest_seconds=0.5))


@dataclass(frozen=True, slots=True, kw_only=True)
class BelievedRun:
    """A run as it was last read; the commit of a claim checks that it still stands so."""

    run: FlowRun
    data: Mapping[str, Any]
    version: Version
    #: So many bytes can still be added to its document.
    bytes_left: int
    #: Stored job records, as far as they were read.
    jobs: Mapping[StepId, Snapshot] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """The event, or the sweep, that led to the run."""

    event_id: str
    trace: TraceContext
    log: EventLogger


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """Claims steps. Any number of callers may do so for the same run at the same time."""

    documents: DocumentStore
    queue: Queue
    clock: Clock
    #: Says on runs that they, or steps of them, are not worked on.
    refusing: Refusing
    #: The collection of the runs.
    flow_runs: str
    new_id: Callable[[], str]
    random: Random
    #: How long a job may stay queued before the sweep publishes it again.
    queued_for: timedelta

    async def claim(self, view: BelievedRun, cause: Cause) -> int:
        """Claim what is executable in this view, publish it, and return the number of jobs.

        Steps that a later write made executable are left to the event of that write: a
        redelivery of the present event would not publish their jobs.

        Raises:
            FirestoreClaimFailed: Firestore did not answer, or the run changed too often.
            QueueUnavailable: a job was claimed and its message not confirmed.
            QueueRefused: a job was claimed and its message not taken.
        """
        claiming = _Claiming(
            claims=self,
            cause=cause,
            claim_id=ClaimId(self.new_id()),
            own=executable_steps(view.run),
        )
        return await guarded(
            view,
            commit=claiming.commit,
            read_back=claiming.read_back,
            tries=TRIES,
            random=self.random,
            exhausted=claiming.exhausted,
        )

    async def publish(self, jobs: Sequence[JobMessage], cause: Cause) -> int:
        """Publish the jobs, and return their number.

        Raises:
            QueueUnavailable: not all of them were confirmed.
            QueueRefused: one of them is not taken.
        """
        if jobs:
            attributes = {TRACEPARENT: cause.trace.traceparent()}
            messages = [job.encode(attributes) for job in jobs]
            await self.queue.publish(messages, timeout_seconds=CALL_TIMEOUT_SECONDS)
        for job in jobs:
            cause.log.info(
                LogEvent.JOB_PUBLISHED,
                runId=job.run_id,
                stepId=job.step_id,
                claimId=job.claim_id,
            )
        return len(jobs)

    def run_ref(self, run_id: str) -> DocumentRef:
        """Where the run is stored."""
        return DocumentRef(self.flow_runs, run_id)


@dataclass(slots=True, kw_only=True)
class _Claiming:
    """One claim of the steps that one cause showed to be executable."""

    claims: Claims
    cause: Cause
    claim_id: ClaimId
    own: Sequence[StepId]
    tried: int = 0
    published: int = 0
    problem: str = ""

    async def commit(self, view: BelievedRun) -> Done[int] | None:
        """Claim what is executable, and publish it; None when that must be read back."""
        claims, log = self.claims, self.cause.log
        steps = self._steps(view)
        for step_id in steps:
            log.info(LogEvent.READY_STEP_SELECTED, stepId=step_id)
        fitting, others = with_room(view.run, steps, view.bytes_left)
        claim = plan_claim(
            run=view.run,
            steps=fitting,
            run_ref=claims.run_ref(view.run.run_id),
            data=view.data,
            guard=view.version,
            stored_jobs=view.jobs,
            claim_id=self.claim_id,
            event_id=self.cause.event_id,
            now=claims.clock.now(),
            queued_for=claims.queued_for,
        )
        try:
            version = await self._written(claim) if fitting else view.version
        except StoreRefused as problem:
            if not problem.unfit:
                raise FirestoreClaimFailed(f"the claim was refused: {problem}") from None
            # As with the limit of index entries, which no size foretells.
            await claims.refusing.refuse(view.run, steps, view.version, log)
            return Done(self.published)
        if version is None:
            return None
        self.published += await claims.publish(claim.jobs, self.cause)
        await claims.refusing.refuse(view.run, others, version, log)
        return Done(self.published)

    async def _written(self, claim: Claim) -> Version | None:
        """The run's version under this claim; None when the claim is not known to be ours.

        Raises:
            StoreRefused: the claim does not fit, or Firestore does not let us write.
        """
        log = self.cause.log
        self.tried += 1
        try:
            version = await self.claims.documents.commit(
                claim.writes, timeout_seconds=CALL_TIMEOUT_SECONDS
            )
        except PortFailure as problem:
            self.problem = f"{type(problem).__name__}: {problem}"
            log.info(LogEvent.CLAIM_ATTEMPT, attempt=self.tried, outcome=self.problem)
            if isinstance(problem, StoreRefused):
                raise
            return None
        log.info(LogEvent.CLAIM_ATTEMPT, attempt=self.tried, outcome="claimed")
        return version

    async def read_back(self, former: BelievedRun) -> Done[int] | BelievedRun:
        """Read the run again, and publish the jobs of this event that still must be."""
        claims = self.claims
        fresh = await self._read(former.run)
        if fresh is None:
            return Done(self.published)
        jobs = list(fresh.jobs.values())
        claim_id, event_id = self.claim_id, self.cause.event_id
        now = claims.clock.now()
        unpublished = jobs_to_publish(
            jobs, fresh.data, claim_id=claim_id, event_id=event_id, now=now
        )
        self.published += await claims.publish(unpublished, self.cause)
        if self._steps(fresh):
            return fresh
        now = claims.clock.now()
        if published_elsewhere(jobs, claim_id=claim_id, event_id=event_id, now=now):
            # Delivered again, the event finds those jobs published or publishes them.
            raise FirestoreClaimFailed("another delivery of this event may be publishing still")
        return Done(self.published)

    def exhausted(self) -> FirestoreClaimFailed:
        """The error after the last try."""
        return FirestoreClaimFailed(f"{self.tried} tries failed, the last with {self.problem}")

    def _steps(self, view: BelievedRun) -> tuple[StepId, ...]:
        """The executable steps, without those that only a later write made executable."""
        return tuple(step for step in executable_steps(view.run) if step in self.own)

    async def _read(self, run: FlowRun) -> BelievedRun | None:
        claims, steps = self.claims, self.own
        refs = [claims.run_ref(run.run_id), *(job_ref(run.run_id, step) for step in steps)]
        try:
            document, *jobs = await claims.documents.read(
                refs, timeout_seconds=CALL_TIMEOUT_SECONDS
            )
        except PortFailure as problem:
            raise FirestoreClaimFailed(f"reading back failed: {problem}") from None
        if document is None:
            self.cause.log.info(
                LogEvent.CLOUD_EVENT_IGNORED, code=FlowRunNotFound.code, reason="run_deleted"
            )
            return None
        try:
            fresh = parse_flow_run(run.run_id, document.data)
        except FlowRunInvalid:
            # The write that broke the run has an event of its own, which reports it.
            return None
        return BelievedRun(
            run=fresh,
            data=document.data,
            version=document.version,
            bytes_left=room_left(document),
            jobs={step: job for step, job in zip(steps, jobs, strict=True) if job},
        )
