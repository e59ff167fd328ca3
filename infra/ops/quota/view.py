"""How the calls of each model and service tier stand with the provider: pure.

It is put together from what all instances have learned (`llm_pacing`) and from the queue of
the jobs that wait (`llm_jobs`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from executor.model_calls.pools import pool_of
from infra.ops.runs.job_view import time_json
from shared.domain.jobs import JobRecord
from shared.domain.pacing import MINUTES_KEPT, Minute, Pace
from shared.domain.waiting import patience_used

_STANDARD = "standard"


class QuotaStanding(StrEnum):
    """How calls of a model are let through."""

    FREE = "free"  #: Nothing is held back: no limit is known, or the last refusal is long ago.
    PACED = "paced"  #: Each call needs a slot.
    PAUSED = "paused"  #: No call is made before the pause is over.
    OUTAGE = "outage"  #: All was refused of late; single calls look for the end of it.


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingJobs:
    """The jobs that wait for one pace, as far as they were looked at."""

    jobs: int
    #: The first of them that can be read, in the queue's order.
    first: Sequence[JobRecord] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingView:
    """The jobs that wait for one pace."""

    jobs: int
    #: When the last of them is likely to be let through.
    last_slot_at: datetime
    #: The end of the patience that is over first, of the first jobs in the queue; None where
    #: no record can be read.
    patience_until: datetime | None
    #: The largest share of its patience that one of these has waited, from 0 to 1.
    patience_used: float | None

    def as_json(self) -> dict[str, Any]:
        """The queue as `--json` prints it."""
        return {
            "jobs": self.jobs,
            "lastSlotAt": time_json(self.last_slot_at),
            "patienceUntil": time_json(self.patience_until),
            "patienceUsed": self.patience_used,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaView:
    """What the provider takes of one model at one service tier, and who waits for it."""

    #: The id of the document in `llm_pacing`.
    place: str
    model: str
    endpoint: str
    tier: str
    standing: QuotaStanding
    #: Calls a minute that `GEMINI_LIMITS` allows; None where it says nothing.
    configured: float | None
    #: Calls a minute at which the provider began to refuse; None where that is not known.
    learned: float | None
    #: Calls a minute that are let through now; None where nothing is held back.
    allowed: float | None
    #: Refusals in a row, with no call taken between them.
    strikes: int
    #: No call is made before; None where none is held back by a pause.
    resume_at: datetime | None
    #: By the minute, the oldest first, at most a quarter of an hour.
    minutes: Sequence[Minute] = field(default=())
    waiting: WaitingView | None = None

    @property
    def taken(self) -> int:
        """Calls in these minutes that got a slot and were not refused."""
        return sum(taken_in(minute) for minute in self.minutes)

    @property
    def refused(self) -> int:
        """Calls that were refused in these minutes."""
        return sum(minute.refused for minute in self.minutes)

    def as_json(self) -> dict[str, Any]:
        """The quota as `--json` prints it."""
        return {
            "place": self.place,
            "model": self.model,
            "endpoint": self.endpoint,
            "tier": self.tier,
            "standing": str(self.standing),
            "configuredPerMinute": self.configured,
            "learnedPerMinute": self.learned,
            "allowedPerMinute": self.allowed,
            "taken": self.taken,
            "refused": self.refused,
            "minutes": [
                {
                    "at": time_json(minute.at),
                    "taken": taken_in(minute),
                    "refused": minute.refused,
                }
                for minute in self.minutes
            ],
            "strikes": self.strikes,
            "resumeAt": time_json(self.resume_at),
            "waiting": self.waiting and self.waiting.as_json(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """The quotas of an environment: those first for which jobs wait, then by name."""

    quotas: Sequence[QuotaView]
    #: Whether there are more paces, or queues, than were looked at.
    cut: bool

    @property
    def waiting(self) -> int:
        """Jobs that wait for any of them."""
        return sum(quota.waiting.jobs for quota in self.quotas if quota.waiting)

    def as_json(self) -> dict[str, Any]:
        """The quotas as `--json` prints them."""
        return {"quotas": [quota.as_json() for quota in self.quotas], "cut": self.cut}


def taken_in(minute: Minute) -> int:
    """Calls of the minute that got a slot and were not refused."""
    return max(0, minute.granted - minute.refused)


def quotas_of(
    paces: Mapping[str, Pace], queues: Mapping[str, WaitingJobs], *, cut: bool, now: datetime
) -> Quotas:
    """The quotas by what was learned, and by who waits; both by the pace's place."""
    places = {*paces, *queues}
    views = [_quota(place, paces.get(place), queues.get(place), now) for place in places]
    ordered = sorted(views, key=lambda view: (view.waiting is None, view.model, view.place))
    return Quotas(quotas=ordered, cut=cut)


def _quota(
    place: str, pace: Pace | None, queue: WaitingJobs | None, now: datetime
) -> QuotaView:
    known = pool_of(place)
    late = now - timedelta(minutes=MINUTES_KEPT)
    in_force = pace is not None and pace.in_force(now)
    return QuotaView(
        place=place,
        # What is no pace's name stands there as it is.
        model=known[0].model if known else place,
        endpoint=known[1] if known else "",
        tier=str(known[0].tier) if known else _STANDARD,
        standing=_standing(pace, now),
        configured=pace.limit if pace else None,
        learned=pace.peak if pace and pace.steady and pace.limit is None else None,
        allowed=pace.rate(now) if pace and in_force else None,
        strikes=pace.strikes if pace and in_force else 0,
        resume_at=pace.resume_at if pace and in_force and now < pace.resume_at else None,
        minutes=[minute for minute in pace.minutes if minute.at > late] if pace else (),
        waiting=_waiting(pace, queue, now),
    )


def _standing(pace: Pace | None, now: datetime) -> QuotaStanding:
    if pace is None or not pace.in_force(now):
        return QuotaStanding.FREE
    if pace.probing:
        return QuotaStanding.OUTAGE
    return QuotaStanding.PAUSED if now < pace.resume_at else QuotaStanding.PACED


def _waiting(pace: Pace | None, queue: WaitingJobs | None, now: datetime) -> WaitingView | None:
    if queue is None or not queue.jobs:
        return None
    waits = [(job, job.waiting) for job in queue.first if job.waiting is not None]
    return WaitingView(
        jobs=queue.jobs,
        last_slot_at=pace.slot_after(now, queue.jobs - 1) if pace else now,
        patience_until=min((waiting.until for _, waiting in waits), default=None),
        patience_used=max(
            (patience_used(waiting, job.claimed_at, now) for job, waiting in waits),
            default=None,
        ),
    )
