"""The job record `llm_jobs/{runId}~{stepId}`: outbox, lease and fence in one document.

Everything that decides a job's state stands in this module. The record belongs to the
worker alone and nothing triggers on it; the message that travels through Pub/Sub is only
a wake-up call, the record is the truth. How it is stored: `job_documents`.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from shared.domain.attempts import (
    MAX_ACTS_KEPT,
    MAX_ATTEMPTS_KEPT,
    MAX_CLAIMS_KEPT,
    Attempt,
    CallPurpose,
    FormerClaim,
    ModelCall,
    OperatorAct,
)
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.steps import IllegalMove
from shared.domain.waiting import SLOT_LASTS, Waiting


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
    # Also of a job that was given back: its report may stand, and no attempt be left.
    JobMove.SUCCEED: JobState.SUCCEEDED,
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


@dataclass(frozen=True, slots=True, kw_only=True)
class BackgroundCall:
    """A model call whose answer waits at the provider for the next holder of the job."""

    id: str
    begun_at: datetime
    #: The digest of the inputs that it was begun with.
    input_digest: str
    #: When it is to be stopped in favour of one at a dearer service tier; None for never.
    stop_at: datetime | None = None
    #: Since when, and how often in a row, the provider has said that it knows no such call.
    missing_since: datetime | None = None
    missing_looks: int = 0

    def missing(self, now: datetime) -> "BackgroundCall":
        """The call after one more look that did not find it."""
        return replace(
            self,
            missing_since=self.missing_since or now,
            missing_looks=self.missing_looks + 1,
        )

    def to_stop(self, now: datetime) -> bool:
        """Whether it has been at work as long as it may."""
        return self.stop_at is not None and now >= self.stop_at

    def found(self) -> "BackgroundCall":
        """The call after a look that found it."""
        return replace(self, missing_since=None, missing_looks=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """One claim of one step, and the work on it."""

    run_id: RunId
    step_id: StepId
    claim_id: ClaimId
    event_id: str
    claimed_at: datetime
    state: JobState
    #: From 1; grows when the step is made READY again and claimed anew.
    claim_number: int = 1
    #: Leases taken under this claim; written before the work that it counts.
    attempt: int = 0
    #: Model calls begun under this claim; written before the call that it counts.
    llm_calls: int = 0
    #: A booked call that may have to be paid for and left no report so far: under way,
    #: answered, or lost with its caller.
    call_open: bool = False
    #: The one repair call of this claim was booked.
    repair_used: bool = False
    #: The last booked call, once it has begun in the background and until it is settled. A
    #: closed record still names it: its message is acknowledged once the provider forgot it.
    interaction: BackgroundCall | None = None
    #: Calls under this claim that the provider refused: they cost nothing, and are not counted
    #: among `llm_calls`.
    refusals: int = 0
    #: What the job knows of its wait for room at the provider; absent if it never waited.
    waiting: Waiting | None = None
    #: How often the sweep woke the job since its last lease.
    wakes: int = 0
    #: The digest of the effective inputs, once they were read.
    input_digest: str | None = None
    lease: Lease | None = None
    #: Earliest next attempt, after a retryable failure.
    not_before: datetime | None = None
    #: When the sweep should look at the job; absent once closed.
    wake_at: datetime | None = None
    last_error: LastError | None = None
    #: When Firestore's TTL policy may delete the closed record.
    expire_at: datetime | None = None
    #: The latest attempts under this claim, the oldest first.
    history: tuple[Attempt, ...] = ()
    #: What operators did to the step, under this and former claims.
    operator_acts: tuple[OperatorAct, ...] = ()
    #: The latest former claims of the step, the oldest first.
    former_claims: tuple[FormerClaim, ...] = ()
    #: An operator has seen to the failure: it needs no attention any more.
    acknowledged: bool = False

    @property
    def closed(self) -> bool:
        """Whether nothing more is done under this claim."""
        return self.state in CLOSED_STATES

    @property
    def may_have_artifact(self) -> bool:
        """Whether somebody may have stored the step's report before the present attempt."""
        # Not the attempt number alone: a fresh attempt budget begins to count anew.
        return self.attempt > 1 or len(self.history) > 1 or self.claim_number > 1

    @property
    def may_have_begun(self) -> bool:
        """Whether somebody may have made a call, or stored the step's report, before."""
        return self.attempt > 0 or bool(self.history) or self.claim_number > 1

    def leased_at(self, now: datetime) -> bool:
        """Whether a holder is believed alive."""
        return (
            self.state is JobState.RUNNING
            and self.lease is not None
            and now < self.lease.expires_at
        )

    def claimed_again(
        self,
        *,
        claim_id: ClaimId,
        event_id: str,
        now: datetime,
        wake_at: datetime,
        cost_usd: float | None = None,
    ) -> "JobRecord":
        """The record of a new claim of the same step, which fences off the former one.

        `cost_usd` is what the former claim's calls cost, where it is known.
        """
        former = FormerClaim(
            number=self.claim_number,
            claim_id=self.claim_id,
            claimed_at=self.claimed_at,
            state=str(self.state),
            llm_calls=self.llm_calls,
            code=self.last_error.code if self.last_error else None,
            cost_usd=cost_usd,
            attempts=self.history,
        )
        return JobRecord(
            run_id=self.run_id,
            step_id=self.step_id,
            claim_id=claim_id,
            event_id=event_id,
            claimed_at=now,
            state=advance_job(self.state, JobMove.CLAIM),
            claim_number=self.claim_number + 1,
            wake_at=wake_at,
            operator_acts=self.operator_acts,
            former_claims=(*self.former_claims, former)[-MAX_CLAIMS_KEPT:],
        )

    @property
    def next_attempt(self) -> int:
        """The number of the attempt that the next lease begins."""
        return self.attempt + 1

    def take_lease(self, *, owner: str, now: datetime, lease_for: timedelta) -> "JobRecord":
        """The record with one more attempt, held by `owner`."""
        expires_at = now + lease_for
        attempt = Attempt(number=self.next_attempt, started_at=now)
        return replace(
            self,
            state=advance_job(self.state, JobMove.LEASE),
            attempt=attempt.number,
            lease=Lease(owner=owner, expires_at=expires_at),
            not_before=None,
            wake_at=expires_at,
            wakes=0,
            history=(*self.history, attempt)[-MAX_ATTEMPTS_KEPT:],
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

    def wake(self, *, wake_at: datetime) -> "JobRecord":
        """The record of a job whose message is published again, to be looked at once more."""
        return replace(self, wakes=self.wakes + 1, wake_at=wake_at)

    def with_act(self, act: OperatorAct) -> "JobRecord":
        """The record that remembers what an operator did."""
        return replace(self, operator_acts=(*self.operator_acts, act)[-MAX_ACTS_KEPT:])

    def with_fresh_attempts(self, *, wake_at: datetime) -> "JobRecord":
        """The open record with its attempt budget unspent; what was paid for stays counted.

        Raises:
            IllegalMove: nothing is left to attempt.
        """
        if self.closed:
            raise IllegalMove(f"a {self.state} job has no attempts")
        fresh = replace(self, attempt=0, wakes=0)
        if self.waiting is not None and self.waiting.queued:
            return fresh
        return replace(fresh, not_before=None, wake_at=wake_at)

    def book_llm_call(self, purpose: CallPurpose = CallPurpose.REPORT) -> "JobRecord":
        """The record that counts one more model call, before it begins."""
        return replace(
            self,
            llm_calls=self.llm_calls + 1,
            call_open=True,
            interaction=None,
            repair_used=self.repair_used or purpose is CallPurpose.REPAIR,
        )

    def unbook_llm_call(self) -> "JobRecord":
        """The record without the last booked call, which never began."""
        return replace(self, llm_calls=self.llm_calls - 1, call_open=False)

    def call_cost_nothing(self, purpose: CallPurpose = CallPurpose.REPORT) -> "JobRecord":
        """The record after a call that failed at no cost, and so is not counted."""
        return replace(
            self,
            llm_calls=self.llm_calls - 1,
            call_open=False,
            repair_used=self.repair_used and purpose is not CallPurpose.REPAIR,
            interaction=None,
        )

    def call_was_billed(self, purpose: CallPurpose = CallPurpose.REPORT) -> "JobRecord":
        """The record after a call that failed, and whose bill is known."""
        del purpose
        return replace(self, call_open=False, interaction=None)

    def call_refused(self, purpose: CallPurpose = CallPurpose.REPORT) -> "JobRecord":
        """The record after a call for which the provider had no room."""
        record, history = self.call_cost_nothing(purpose), self.history
        if history:
            # Counted only: hundreds of them would drive paid calls out of the list.
            history = (*history[:-1], history[-1].without_call(self.llm_calls))
        return replace(record, refusals=self.refusals + 1, history=history)

    def begin_in_background(self, call: BackgroundCall) -> "JobRecord":
        """The record that knows where the answer to the last booked call will be."""
        return replace(self, interaction=call)

    def note_look(self, call: BackgroundCall) -> "JobRecord":
        """The record that knows how the last look for the answer ended."""
        same = self.interaction is not None and self.interaction.id == call.id
        return replace(self, interaction=call) if same else self

    @property
    def lacks_call_id(self) -> bool:
        """Whether a call was booked that may have begun, and whose id nobody has recorded."""
        return self.call_open and self.interaction is None

    def await_hook(self, *, until: datetime) -> "JobRecord":
        """The record of a job whose holder died beginning a call: a hook may bring the id.

        It stands in nobody's lease, so that it is waited for once. Whose call it is waits on.
        """
        return replace(
            self,
            state=advance_job(self.state, JobMove.RELEASE),
            lease=None,
            not_before=until,
            wake_at=until,
        )

    def lose_answer(self) -> "JobRecord":
        """The record after a call whose answer cannot come any more, and may be billed."""
        return replace(self, interaction=None)

    def note_inputs(self, digest: str) -> "JobRecord":
        """The record that knows what the report is made from."""
        return replace(self, input_digest=digest)

    def note_call(self, call: ModelCall) -> "JobRecord":
        """The record that remembers this call: where it is known, or in the present attempt.

        An answer fetched twice, by two attempts, is still one call on the bill.
        """
        known = [any(c.is_same(call) for c in a.calls) for a in self.history]
        if not any(known):
            return (
                self._with_attempt(self.history[-1].with_call(call)) if self.history else self
            )
        index = known.index(True)
        history = list(self.history)
        history[index] = history[index].with_call(call)
        return replace(self, history=tuple(history))

    def note_stored(self, now: datetime) -> "JobRecord":
        """The record that remembers when the present attempt stored the report."""
        if not self.history:
            return self
        return self._with_attempt(replace(self.history[-1], stored_at=now))

    def release(
        self, *, now: datetime, not_before: datetime, error: LastError | None
    ) -> "JobRecord":
        """The record given back for another attempt."""
        return replace(
            self,
            state=advance_job(self.state, JobMove.RELEASE),
            lease=None,
            not_before=not_before,
            wake_at=not_before,
            last_error=error or self.last_error,
            history=self._ended_history(now, error),
        )

    def wait_for_answer(self, *, now: datetime, not_before: datetime) -> "JobRecord":
        """The record given back while the model is at work, which counts as no attempt.

        A long answer takes several leases, none of which failed. One that dies is never given
        back, so it stays counted. One that only looked is not kept: many of them would drive
        the call itself out of the history.
        """
        released = self.release(now=now, not_before=not_before, error=None)
        looked = bool(self.history) and not self.history[-1].calls
        history = released.history[:-1] if looked else released.history
        return replace(released, attempt=self.attempt - 1, history=history)

    def wait_in_queue(
        self, waiting: Waiting, *, now: datetime, not_before: datetime, error: LastError | None
    ) -> "JobRecord":
        """The record of a job that waits for room at the provider.

        It is woken when it gets a slot; should it never get one, when its patience ends, or
        when it may be called at a dearer service tier. An
        attempt that called nobody, or was refused, is not counted.
        """
        record = self
        if self.state is JobState.RUNNING:
            record = self.release(now=now, not_before=not_before, error=error)
            if not self.history or not self.history[-1].calls:
                record = replace(record, attempt=self.attempt - 1, history=self.history[:-1])
        return replace(
            record, waiting=waiting, not_before=not_before, wake_at=waiting.looked_at, wakes=0
        )

    def leave_queue(self, *, now: datetime, wake_at: datetime) -> "JobRecord":
        """The record of a job that waits no more, and got no slot: it may call elsewhere.

        Raises:
            IllegalMove: it does not wait.
        """
        if self.waiting is None:
            raise IllegalMove("the job does not wait")
        waiting = replace(self.waiting, slot_until=now)
        return replace(self.wake(wake_at=wake_at), waiting=waiting, not_before=None)

    def grant_slot(self, *, now: datetime, wake_at: datetime) -> "JobRecord":
        """The record of a job that is let out of the queue, and may call."""
        if self.waiting is None:
            raise IllegalMove("the job does not wait")
        waiting = replace(self.waiting, slot_until=now + SLOT_LASTS)
        return replace(self, waiting=waiting, not_before=None, wake_at=wake_at)

    def close(
        self,
        move: JobMove,
        *,
        now: datetime,
        keep_for: timedelta,
        error: LastError | None = None,
    ) -> "JobRecord":
        """The record with nothing left to do, to be deleted after `keep_for`."""
        return replace(
            self,
            state=advance_job(self.state, move),
            lease=None,
            call_open=False,
            not_before=None,
            wake_at=None,
            last_error=error or self.last_error,
            expire_at=now + keep_for,
            history=self._ended_history(now, error),
        )

    def _ended_history(self, now: datetime, error: LastError | None) -> tuple[Attempt, ...]:
        if not self.history or self.history[-1].ended_at is not None:
            return self.history
        code = error.code if error else None
        return (*self.history[:-1], replace(self.history[-1], ended_at=now, code=code))

    def _with_attempt(self, attempt: Attempt) -> "JobRecord":
        return replace(self, history=(*self.history[:-1], attempt))
