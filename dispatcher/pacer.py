"""Letting waiting jobs through to the provider, no more of them than it takes.

Jobs that the provider refused, and jobs that came while others waited, stand in a queue. The
pacer looks at it every few seconds for as long as there is one: it learns from the refusals
that came back, grants as many slots as the pace allows, and wakes the jobs that come first.
Every write is guarded, so two sweeps at the same time grant each slot once.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from dispatcher.claiming import Cause, Claims
from dispatcher.queued import Queued, QueueHeads, log_waits, readable_jobs
from dispatcher.refusing import CALL_TIMEOUT_SECONDS
from dispatcher.sweep_plan import Plan, plan_slot
from dispatcher.sweep_report import SweepReport
from dispatcher.waiting_places import waiting_places
from shared.domain.documents import Snapshot
from shared.domain.pace_documents import pace_ref, pace_write, parse_pace
from shared.domain.pacing import Pace, unknown
from shared.domain.waiting import queue_range
from shared.ports import (
    Clock,
    Conflict,
    DocumentStore,
    PortFailure,
    StoreRefused,
    UnfinishedWork,
)

LOOK_EVERY_SECONDS = 2.0
#: Where slots are further apart than this, each is looked for just when it comes.
_SLOW_SECONDS = 1.5
_SHORTEST_SECONDS = 1.0
#: Times are whole microseconds: a slot that comes between two is not there at the first.
_A_LITTLE = timedelta(milliseconds=1)
#: Jobs that one look may let through.
MAX_GRANTED = 300
#: Beside those that get a slot, so many are looked at for refusals.
_LOOKED_AT_MORE = 10
#: A refusal that is older was learned from before.
_FRESH = timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacer:
    """Looks at the queues."""

    documents: DocumentStore
    work: UnfinishedWork
    heads: QueueHeads
    claims: Claims
    clock: Clock
    queued_for: timedelta
    keep_closed_jobs: timedelta
    report: SweepReport
    cause: Cause
    _counted: set[str] = field(default_factory=set)
    _odd: set[str] = field(default_factory=set)
    #: Places whose queue this sweep has logged.
    _told: set[str] = field(default_factory=set)

    async def run(self, ends_at: float) -> None:
        """Look until nothing waits, or until this moment of the monotonic clock.

        An outage that several looks meet, one after the other, is reported once.
        """
        failing = False
        while True:
            try:
                wait, failing = await self.look(), False
            except PortFailure as problem:
                if not failing:
                    self.report.note_failure(problem)
                wait, failing = LOOK_EVERY_SECONDS, True
            if wait is None or self.clock.monotonic() + wait > ends_at:
                return
            await asyncio.sleep(wait)

    async def look(self) -> float | None:
        """Look at every queue once; when to look again, in seconds, if there is any."""
        places = await waiting_places(self.work, self.report, self._odd)
        looks: list[datetime] = []
        refused: StoreRefused | None = None
        for place in sorted({*places, *self._counted}):
            try:
                looks.append(await self._look_at(place))
            except StoreRefused as problem:
                refused = problem  # The other places have their turn all the same.
        if refused is not None:
            raise refused
        if not places:
            return None
        wait = min(looks) - self.clock.now()
        return max(_SHORTEST_SECONDS, wait.total_seconds())

    async def _look_at(self, place: str) -> datetime:
        """Let through what the pace allows; when to look again."""
        [stored] = await self.documents.read(
            [pace_ref(place)], timeout_seconds=CALL_TIMEOUT_SECONDS
        )
        now = self.clock.now()
        pace = (parse_pace(place, stored.data) if stored else None) or unknown(place, now)
        limit = min(MAX_GRANTED, pace.room(now)) + _LOOKED_AT_MORE
        limit += sum(grant.slots for grant in pace.recent)
        page = await self.heads.page(place, limit)
        head = readable_jobs(page)
        learned = _learned(pace, head, stored, now)
        learned, granted = learned.granted(now, min(len(head), MAX_GRANTED))
        waiting = await self._waiting(place, page, limit, pace)
        if place not in self._told:
            self._told.add(place)
            log_waits(self.cause.log, place, head, jobs=waiting, now=now)
        learned = learned.seen_waiting(now, max(0, waiting - granted))
        next_look = _next_look(learned, now)
        if not _says_more(pace, learned):
            return next_look
        try:
            await self.documents.commit(
                [pace_write(learned, stored.version if stored else None)],
                timeout_seconds=CALL_TIMEOUT_SECONDS,
            )
        except Conflict:
            return now  # An executor or another sweep was faster: the next look sees it.
        await self._wake(head[:granted])
        return next_look

    async def _waiting(
        self, place: str, page: Sequence[Snapshot], limit: int, pace: Pace
    ) -> int:
        """How many jobs wait; counted at the first look, and when the page holds them all."""
        if len(page) < limit:
            self._counted.add(place)
            return len(page)
        if place in self._counted:
            return max(pace.waiting, len(page))
        self._counted.add(place)
        after, before = queue_range(place)
        return await self.work.count_waiting(
            after=after, before=before, timeout_seconds=CALL_TIMEOUT_SECONDS
        )

    async def _wake(self, jobs: Sequence[Queued]) -> None:
        if not jobs:
            return
        refs = [self.claims.run_ref(queued.job.run_id) for queued in jobs]
        found = await self.documents.read(
            list(dict.fromkeys(refs)), timeout_seconds=CALL_TIMEOUT_SECONDS
        )
        runs = dict(zip(dict.fromkeys(refs), found, strict=True))
        plans = await asyncio.gather(
            *(
                self._committed(queued, runs[ref])
                for queued, ref in zip(jobs, refs, strict=True)
            )
        )
        done = [plan for plan in plans if plan is not None]
        self.report.jobs.update(plan.outcome for plan in done)
        try:
            await self.claims.publish(
                [plan.wake.message for plan in done if plan.wake], self.cause
            )
        except PortFailure as problem:
            # Each record says when to look again: the jobs are late, not lost.
            self.report.note_failure(problem)

    async def _committed(self, queued: Queued, run: Snapshot | None) -> Plan | None:
        """The plan, once it stands; None where the job changed meanwhile."""
        plan = plan_slot(
            job=queued.job,
            stored=queued.stored,
            run=run,
            keep_for=self.keep_closed_jobs,
            queued_for=self.queued_for,
            now=self.clock.now(),
        )
        if plan is None:
            return None
        try:
            await self.documents.commit(plan.writes, timeout_seconds=CALL_TIMEOUT_SECONDS)
        except PortFailure:
            return None
        return plan


def _next_look(pace: Pace, now: datetime) -> datetime:
    """When to look at the queue of this pace again.

    Slots that come every 2.1 seconds would otherwise be granted late by up to as much, and two
    of them close together: more in a minute than a provider takes that counts any sixty
    seconds. A look takes time itself, so the slot may be nearer than the usual wait.
    """
    slot_at = pace.next_slot_at(now) + _A_LITTLE
    usual = timedelta(seconds=LOOK_EVERY_SECONDS)
    slow = 60 / pace.rate(now) >= _SLOW_SECONDS
    return slot_at if slow and slot_at <= now + 2 * usual else now + usual


def _learned(
    pace: Pace, head: Sequence[Queued], stored: Snapshot | None, now: datetime
) -> Pace:
    """The pace that knows of the refusals since it was written last."""
    # By the database's own clock: those of the writers differ.
    fresh = [
        queued.job.waiting
        for queued in head
        if queued.job.waiting is not None
        and queued.job.waiting.refused_at is not None
        and now - queued.job.waiting.refused_at < _FRESH
        and (stored is None or queued.stored.version > stored.version)
    ]
    if not fresh:
        return pace
    delays = [waiting.retry_at - now for waiting in fresh if waiting.retry_at is not None]
    return pace.refused(now, count=len(fresh), delay=max(delays, default=None))


def _says_more(known: Pace, learned: Pace) -> bool:
    """Whether the pace is worth a write."""
    seen = known.seen_at
    stale = seen is None or (
        learned.seen_at is not None and learned.seen_at - seen > timedelta(seconds=30)
    )
    same = (
        known.minutes == learned.minutes
        and known.strikes == learned.strikes
        and (known.waiting > 0) == (learned.waiting > 0)
    )
    return not same or (stale and learned.waiting > 0)
