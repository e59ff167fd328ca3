"""The job record `llm_jobs/{runId}~{stepId}`: outbox, lease and fence in one document.

Everything that decides a job's state stands in this module. The record belongs to the
worker alone and nothing triggers on it; the message that travels through Pub/Sub is only
a wake-up call, the record is the truth.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from shared.domain.documents import DELETE, Create, DocumentRef, FieldPath, Update, Version
from shared.domain.identifiers import ClaimId, RunId, StepId, job_id
from shared.domain.steps import IllegalMove

COLLECTION = "llm_jobs"


class JobState(StrEnum):
    """The state of a job; each member says who moves the job out of it."""

    QUEUED = "QUEUED"  #: An executor that gets its message; the sweep publishes it again.
    RUNNING = "RUNNING"  #: The lease's owner; once the lease has expired, whoever comes next.
    SUCCEEDED = "SUCCEEDED"  #: Nobody; a new claim of the step starts the record over.
    FAILED = "FAILED"  #: Nobody; a new claim of the step starts the record over.
    ABANDONED = "ABANDONED"  #: Nobody: others ended the step, or it is gone.


class JobMove(StrEnum):
    """What happens to a job."""

    CLAIM = "claim"
    LEASE = "lease"
    RENEW = "renew"
    RELEASE = "release"
    SUCCEED = "succeed"
    FAIL = "fail"
    ABANDON = "abandon"


_OPEN_MOVES = {
    JobMove.CLAIM: JobState.QUEUED,
    JobMove.LEASE: JobState.RUNNING,
    JobMove.FAIL: JobState.FAILED,
    JobMove.ABANDON: JobState.ABANDONED,
}
_CLOSED_MOVES = {JobMove.CLAIM: JobState.QUEUED}

TRANSITIONS: dict[JobState, dict[JobMove, JobState]] = {
    JobState.QUEUED: _OPEN_MOVES,
    JobState.RUNNING: {
        **_OPEN_MOVES,
        JobMove.RENEW: JobState.RUNNING,
        JobMove.RELEASE: JobState.QUEUED,
        JobMove.SUCCEED: JobState.SUCCEEDED,
    },
    JobState.SUCCEEDED: _CLOSED_MOVES,
    JobState.FAILED: _CLOSED_MOVES,
    JobState.ABANDONED: _CLOSED_MOVES,
}

CLOSED_STATES = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.ABANDONED})


def advance_job(state: JobState, move: JobMove) -> JobState:
    """The state after the move.

    Raises:
        IllegalMove: the job may not be moved so from this state.
    """
    try:
        return TRANSITIONS[state][move]
    except KeyError:
        raise IllegalMove(f"a {state} job cannot {move}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Who works on the job, and until when that is believed without a renewal."""

    owner: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class LastError:
    """How the last failed attempt ended."""

    code: str
    message: str


class JobRecordInvalid(ValueError):
    """The stored record is not one that this worker wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """One claim of one step, and the work on it."""

    run_id: RunId
    step_id: StepId
    claim_id: ClaimId
    event_id: str
    claimed_at: datetime
    state: JobState
    #: Leases taken under this claim; written before the work that it counts.
    attempt: int = 0
    #: Model calls begun under this claim; written before the call that it counts.
    llm_calls: int = 0
    lease: Lease | None = None
    #: Earliest next attempt, after a retryable failure.
    not_before: datetime | None = None
    #: When the sweep should look at the job; absent once closed.
    wake_at: datetime | None = None
    last_error: LastError | None = None
    #: When Firestore's TTL policy may delete the closed record.
    expire_at: datetime | None = None

    @property
    def ref(self) -> DocumentRef:
        """Where the record is stored."""
        return job_ref(self.run_id, self.step_id)

    @property
    def closed(self) -> bool:
        """Whether nothing more is done under this claim."""
        return self.state in CLOSED_STATES

    def leased_at(self, now: datetime) -> bool:
        """Whether a holder is believed alive."""
        return (
            self.state is JobState.RUNNING
            and self.lease is not None
            and now < self.lease.expires_at
        )

    def take_lease(self, *, owner: str, now: datetime, lease_for: timedelta) -> "JobRecord":
        """The record with one more attempt, held by `owner`."""
        expires_at = now + lease_for
        return replace(
            self,
            state=advance_job(self.state, JobMove.LEASE),
            attempt=self.attempt + 1,
            lease=Lease(owner=owner, expires_at=expires_at),
            not_before=None,
            wake_at=expires_at,
        )

    def renew(self, *, now: datetime, lease_for: timedelta) -> "JobRecord":
        """The record with its lease prolonged."""
        if self.lease is None:
            raise IllegalMove("no lease to renew")
        expires_at = now + lease_for
        return replace(
            self,
            state=advance_job(self.state, JobMove.RENEW),
            lease=replace(self.lease, expires_at=expires_at),
            wake_at=expires_at,
        )

    def begin_llm_call(self) -> "JobRecord":
        """The record that books one more model call."""
        return replace(self, llm_calls=self.llm_calls + 1)

    def release(self, *, not_before: datetime, error: LastError) -> "JobRecord":
        """The record given back for another attempt."""
        return replace(
            self,
            state=advance_job(self.state, JobMove.RELEASE),
            lease=None,
            not_before=not_before,
            wake_at=not_before,
            last_error=error,
        )

    def close(
        self, move: JobMove, *, expire_at: datetime, error: LastError | None = None
    ) -> "JobRecord":
        """The record with nothing left to do."""
        return replace(
            self,
            state=advance_job(self.state, move),
            lease=None,
            not_before=None,
            wake_at=None,
            last_error=error or self.last_error,
            expire_at=expire_at,
        )

    def create(self) -> Create:
        """The write that stores a first claim's record."""
        fields = self.as_document()
        return Create(ref=self.ref, data=fields)

    def update(self, guard: Version) -> Update:
        """The write that brings the stored record to this state, all fields of it."""
        fields = self.as_document()
        changes: dict[FieldPath, Any] = {(name,): fields.get(name, DELETE) for name in _FIELDS}
        return Update(ref=self.ref, changes=changes, guard=guard)

    def as_document(self) -> dict[str, Any]:
        """The fields as Firestore holds them; absent where there is nothing to say."""
        document: dict[str, Any] = {
            "runId": self.run_id,
            "stepId": self.step_id,
            "claimId": self.claim_id,
            "eventId": self.event_id,
            "claimedAt": self.claimed_at,
            "state": str(self.state),
            "attempt": self.attempt,
            "llmCalls": self.llm_calls,
            "lease": self.lease
            and {"owner": self.lease.owner, "expiresAt": self.lease.expires_at},
            "notBefore": self.not_before,
            "wakeAt": self.wake_at,
            "lastError": self.last_error
            and {"code": self.last_error.code, "message": self.last_error.message},
            "expireAt": self.expire_at,
        }
        return {name: value for name, value in document.items() if value is not None}


_FIELDS = (
    "runId",
    "stepId",
    "claimId",
    "eventId",
    "claimedAt",
    "state",
    "attempt",
    "llmCalls",
    "lease",
    "notBefore",
    "wakeAt",
    "lastError",
    "expireAt",
)


def job_ref(run_id: RunId, step_id: StepId) -> DocumentRef:
    """Where the job record of a step is stored."""
    return DocumentRef(COLLECTION, job_id(run_id, step_id))


def parse_job_record(data: Mapping[str, Any]) -> JobRecord:
    """The record that `JobRecord.as_document` stored.

    Raises:
        JobRecordInvalid: a field is missing or has another type.
    """
    try:
        lease, error = data.get("lease"), data.get("lastError")
        return JobRecord(
            run_id=RunId(data["runId"]),
            step_id=StepId(data["stepId"]),
            claim_id=ClaimId(data["claimId"]),
            event_id=data["eventId"],
            claimed_at=data["claimedAt"],
            state=JobState(data["state"]),
            attempt=int(data["attempt"]),
            llm_calls=int(data["llmCalls"]),
            lease=lease and Lease(owner=lease["owner"], expires_at=lease["expiresAt"]),
            not_before=data.get("notBefore"),
            wake_at=data.get("wakeAt"),
            last_error=error and LastError(code=error["code"], message=error["message"]),
            expire_at=data.get("expireAt"),
        )
    except (KeyError, TypeError, ValueError) as problem:
        raise JobRecordInvalid(
            f"bad job record: {type(problem).__name__} at {problem}"
        ) from None
