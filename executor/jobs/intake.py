"""What a delivery asks for, decided from the records as they stand: pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, TypeAlias

from shared.domain.finalize import is_at_work
from shared.domain.identifiers import StepId
from shared.domain.jobs import JobRecord, JobState
from shared.domain.messages import JobMessage
from shared.domain.steps import StepStatus


class Idle(StrEnum):
    """Why a delivery asks for nothing."""

    JOB_MISSING = "job_missing"
    STALE_CLAIM = "stale_claim"
    ALREADY_FINAL = "already_final"
    LEASE_HELD = "lease_held"


class Gone(StrEnum):
    """Why there is nothing left to work on: the job is abandoned."""

    RUN_MISSING = "run_missing"
    STEP_MISSING = "step_missing"
    STEP_NOT_RUNNING = "step_not_running"
    STEP_RETYPED = "step_retyped"


@dataclass(frozen=True, slots=True)
class Ignore:
    """Acknowledge, and touch nothing."""

    reason: Idle


@dataclass(frozen=True, slots=True)
class Defer:
    """Acknowledge: it is too early; the sweep wakes the job when its time has come."""

    not_before: datetime


@dataclass(frozen=True, slots=True)
class AwaitHook:
    """Wait for the hook of a call whose beginner died: it alone knows the call's id."""

    until: datetime


@dataclass(frozen=True, slots=True)
class ComeAgain:
    """Have the hook delivered again: somebody is at work on the job just now."""


@dataclass(frozen=True, slots=True)
class Abandon:
    """Close the job: others ended the step, or it is gone."""

    reason: Gone


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End the step: the attempt budget is spent, and the last holder died before it could."""


@dataclass(frozen=True, slots=True)
class Proceed:
    """Take the lease and make the report."""

    #: The call whose id the job lacks, if a hook is right about it.
    hint: str | None = None


NoWork: TypeAlias = Ignore | Defer | AwaitHook | ComeAgain | Abandon
Decision: TypeAlias = NoWork | GiveUp | Proceed


def decide(
    *,
    message: JobMessage,
    job: JobRecord,
    run: Mapping[str, Any],
    max_attempts: int,
    now: datetime,
    ended_call: str | None = None,
    hook_wait: timedelta | None = None,
) -> Decision:
    """What to do about a job message whose run stands.

    Args:
        message: as it was delivered.
        job: its record.
        run: its run.
        max_attempts: the attempt budget of a claim.
        now: the time of day.
        ended_call: the call that a hook named. Where the job waits for the answer of that very
            call, somebody looks for it now; where it lacks the id of its call, this may be it.
        hook_wait: how long a hook that brings an id is waited for, from the moment when the
            one who began the call is believed dead; None where no hook can come.
    """
    idle = _idle(message, job, now)
    named = job.interaction is not None and job.interaction.id == ended_call
    hint = ended_call if hook_wait is not None and job.lacks_call_id else None
    if idle is Idle.LEASE_HELD and (named or hint is not None):
        return ComeAgain()
    if idle is not None:
        return Ignore(idle)
    gone = nothing_to_work_on(run, message.step_id)
    if gone is not None:
        return Abandon(gone)
    if job.waiting is not None and job.waiting.queued and job.state is JobState.QUEUED:
        return Defer(job.not_before or job.waiting.until)
    if job.not_before is not None and now < job.not_before and not (named or hint):
        return Defer(job.not_before)
    return _work(job, hint, max_attempts=max_attempts, now=now, hook_wait=hook_wait)


def _work(
    job: JobRecord,
    hint: str | None,
    *,
    max_attempts: int,
    now: datetime,
    hook_wait: timedelta | None,
) -> GiveUp | AwaitHook | Proceed:
    """What to do about a job whose time has come."""
    if job.attempt >= max_attempts:
        return GiveUp()
    until = _hook_awaited_until(job, hook_wait)
    if hint is None and until is not None and now < until:
        return AwaitHook(until)
    return Proceed(hint)


def _hook_awaited_until(job: JobRecord, hook_wait: timedelta | None) -> datetime | None:
    """When nobody waits any more for the hook of a call whose beginner died, if it did.

    A job that was given back has been waited for, or needs no wait.
    """
    if hook_wait is None or job.lease is None or not job.lacks_call_id:
        return None
    return job.lease.expires_at + hook_wait


def decide_without_run(*, message: JobMessage, job: JobRecord, now: datetime) -> NoWork:
    """What to do about a job message whose run is gone."""
    idle = _idle(message, job, now)
    return Abandon(Gone.RUN_MISSING) if idle is None else Ignore(idle)


def _idle(message: JobMessage, job: JobRecord, now: datetime) -> Idle | None:
    """Why the job is nothing for this delivery, whatever became of its run."""
    if job.claim_id != message.claim_id:
        return Idle.STALE_CLAIM
    if job.closed:
        return Idle.ALREADY_FINAL
    return Idle.LEASE_HELD if job.leased_at(now) else None


def nothing_to_work_on(run: Mapping[str, Any] | None, step_id: StepId) -> Gone | None:
    """Why the step cannot be worked on; None when it is RUNNING, as our claim left it."""
    if run is None:
        return Gone.RUN_MISSING
    if is_at_work(run, step_id):
        return None
    steps = run.get("steps")
    step = steps.get(step_id) if isinstance(steps, Mapping) else None
    if not isinstance(step, Mapping):
        return Gone.STEP_MISSING
    running = step.get("status") == StepStatus.RUNNING
    return Gone.STEP_RETYPED if running else Gone.STEP_NOT_RUNNING
