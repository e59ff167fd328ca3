"""What becomes of a job whose time has come: pure decisions.

A job is due when its message was not followed by a lease, when its lease was not renewed, or
when it asked to be woken. Nobody may be left to say why, so everything is decided from the
records as they stand.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeVar

from dispatcher.planning import job_message
from shared.domain.documents import Snapshot, Write
from shared.domain.errors import StepError
from shared.domain.finalize import (
    ending_writes,
    exhausted,
    is_at_work,
    patience_over,
    smaller_endings,
)
from shared.domain.job_documents import update_job
from shared.domain.jobs import JobMove, JobRecord, JobState
from shared.domain.messages import JobMessage

_Writes = TypeVar("_Writes")
LONGEST_QUEUED_FOR = timedelta(minutes=15)
#: How often a job with a spent attempt budget is still given to the executor, which alone can
#: see whether the last attempt stored its report before it died.
RECOVERY_WAKES = 2


class SweepOutcome(StrEnum):
    """What a sweep did with a due job."""

    REPUBLISHED = "republished"
    EXHAUSTED = "exhausted"
    ABANDONED = "abandoned"
    LEFT = "left"
    #: It waited for room at the provider, and got a slot.
    LET_THROUGH = "let_through"
    #: It waited for room at a cheap service tier, and may be called at a dearer one.
    DEARER_TIER = "dearer_tier"
    #: It waited for room at the provider as long as it may.
    OUT_OF_PATIENCE = "out_of_patience"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wake:
    """The message to publish once the commit is known to be ours: the record is `woken`."""

    woken: JobRecord
    message: JobMessage


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One commit, and what is to be done after it."""

    outcome: SweepOutcome
    writes: tuple[Write, ...]
    #: What to commit instead where the run has no room, in this order.
    smaller: tuple[tuple[Write, ...], ...] = ()
    wake: Wake | None = None


def plan_due_job(
    *,
    job: JobRecord,
    stored: Snapshot,
    run: Snapshot | None,
    max_attempts: int,
    keep_for: timedelta,
    queued_for: timedelta,
    now: datetime,
    jitter: timedelta,
) -> Plan | None:
    """What to do with the job; None when it is closed, held, or not due.

    Args:
        job: the record in `stored`.
        stored: where and in which version the record stands.
        run: the job's run; None when it is gone.
        max_attempts: the attempt budget of a claim.
        keep_for: how long a closed record is kept.
        queued_for: how long a first message may stay without effect.
        now: the time of day.
        jitter: drawn anew for every try. It spreads what became due together, and tells this
            sweep's commit from another's whose answer was lost in the same instant.
    """
    if job.closed or job.leased_at(now) or job.wake_at is None or now < job.wake_at:
        return None
    if run is None or not is_at_work(run.data, job.step_id):
        return _abandoned(job, stored, now, keep_for)
    if is_queued(job) and job.waiting and now >= job.waiting.until:
        error = patience_over(job, now)
        outcome = SweepOutcome.OUT_OF_PATIENCE
        return _ended(outcome, error, job, stored, run, now=now, keep_for=keep_for)
    if job.attempt >= max_attempts and job.wakes >= RECOVERY_WAKES:
        outcome = SweepOutcome.EXHAUSTED
        return _ended(outcome, exhausted(job), job, stored, run, now=now, keep_for=keep_for)
    wake_at = now + look_again_after(job.wakes, queued_for) + jitter
    dearer = job.waiting is not None and is_queued(job) and job.waiting.may_go_dearer(now)
    woken = job.leave_queue(now=now, wake_at=wake_at) if dearer else job.wake(wake_at=wake_at)
    return Plan(
        outcome=SweepOutcome.DEARER_TIER if dearer else SweepOutcome.REPUBLISHED,
        # Written before the message: of many sweeps, the one whose guard holds publishes it.
        writes=(update_job(woken, stored.version),),
        wake=Wake(woken=woken, message=job_message(woken, run.data)),
    )


def _ended(
    outcome: SweepOutcome,
    error: StepError,
    job: JobRecord,
    stored: Snapshot,
    run: Snapshot,
    *,
    now: datetime,
    keep_for: timedelta,
) -> Plan:
    def endings(make: Callable[..., _Writes]) -> _Writes:
        return make(
            error=error,
            run=run,
            job=job,
            job_version=stored.version,
            now=now,
            keep_for=keep_for,
        )

    return Plan(
        outcome=outcome,
        writes=endings(ending_writes),
        smaller=endings(smaller_endings),
    )


def is_queued(job: JobRecord) -> bool:
    """Whether the job waits for room at the provider."""
    return job.state is JobState.QUEUED and job.waiting is not None and job.waiting.queued


def plan_slot(
    *,
    job: JobRecord,
    stored: Snapshot,
    run: Snapshot | None,
    keep_for: timedelta,
    queued_for: timedelta,
    now: datetime,
) -> Plan | None:
    """What to do with a waiting job that gets a slot; None when it waits no more."""
    if not is_queued(job):
        return None
    if run is None or not is_at_work(run.data, job.step_id):
        return _abandoned(job, stored, now, keep_for)
    woken = job.grant_slot(now=now, wake_at=now + queued_for)
    return Plan(
        outcome=SweepOutcome.LET_THROUGH,
        writes=(update_job(woken, stored.version),),
        wake=Wake(woken=woken, message=job_message(woken, run.data)),
    )


def _abandoned(job: JobRecord, stored: Snapshot, now: datetime, keep_for: timedelta) -> Plan:
    closed = job.close(JobMove.ABANDON, now=now, keep_for=keep_for)
    return Plan(outcome=SweepOutcome.ABANDONED, writes=(update_job(closed, stored.version),))


def look_again_after(wakes: int, queued_for: timedelta) -> timedelta:
    """How long a message published now may stay without effect.

    Twice as long after each one that nobody took: a job that waits behind others is not
    helped by ever more copies of its message.
    """
    # The exponent is capped so that no duration overflows; the product is capped well before.
    return min(queued_for * (1 << min(wakes, 16)), LONGEST_QUEUED_FOR)
