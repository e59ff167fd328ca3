"""What a delivery asks for, decided from the records as they stand: pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias

from shared.domain.documents import Snapshot
from shared.domain.finalize import is_at_work
from shared.domain.identifiers import StepId
from shared.domain.jobs import JobRecord
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
class Abandon:
    """Close the job: others ended the step, or it is gone."""

    reason: Gone


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End the step: the attempt budget is spent, and the last holder did not live to say so."""

    run: Snapshot


@dataclass(frozen=True, slots=True)
class Proceed:
    """Take the lease and work on this run's step."""

    run: Snapshot


Decision: TypeAlias = Ignore | Defer | Abandon | GiveUp | Proceed


def decide(  # noqa: PLR0911 -- one return per row of the decision
    *,
    message: JobMessage,
    job: JobRecord | None,
    run: Snapshot | None,
    max_attempts: int,
    now: datetime,
) -> Decision:
    """What to do about a job message."""
    if job is None:
        return Ignore(Idle.JOB_MISSING)
    if job.claim_id != message.claim_id:
        return Ignore(Idle.STALE_CLAIM)
    if job.closed:
        return Ignore(Idle.ALREADY_FINAL)
    if job.leased_at(now):
        return Ignore(Idle.LEASE_HELD)
    if run is None:
        return Abandon(Gone.RUN_MISSING)
    gone = nothing_to_work_on(run.data, message.step_id)
    if gone is not None:
        return Abandon(gone)
    if job.not_before is not None and now < job.not_before:
        return Defer(job.not_before)
    return GiveUp(run) if job.attempt >= max_attempts else Proceed(run)


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
