"""Calling no faster than the provider takes calls, by what all instances have learned.

What is known of a model's pace is read together with the job. While it is in force, a call
needs a slot: a job that was woken from the queue has one, any other takes one of a block that
this process took from the pace's document, unless jobs wait that come first.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random

from executor.billing.limits import USUAL_TOKENS, CallLimit, CallLimits
from executor.contract.tiers import ServiceTier
from executor.model_calls.pools import Pool, pool_place
from executor.model_calls.tiers import TierChoice
from executor.ports import CALL_TIMEOUT_SECONDS
from shared.domain.documents import Snapshot, Version
from shared.domain.errors import NoSlot, StepError
from shared.domain.identifiers import StepId
from shared.domain.jobs import JobRecord
from shared.domain.pace_documents import pace_ref, pace_write, parse_pace
from shared.domain.pacing import Pace, first_refused, limited
from shared.domain.waiting import Waiting, begin_waiting
from shared.ports import Clock, DocumentStore, PortFailure

#: A process takes as many slots at once as come in during this time.
_BLOCK_SECONDS = 2.0
#: Slots that were taken and not used count for so long.
_BLOCK_LASTS = timedelta(seconds=10)
_MAX_TRIES = 3
_JITTER_SECONDS = 0.2
#: A refusal that comes alone may be a hiccup: the same call is made once more, this soon.
_ALONE_FOR = timedelta(minutes=1)
_FIRST_WAIT_SECONDS = (0.5, 2.0)
#: No longer delay is waited for with the instance held.
_LONGEST_WAIT = timedelta(seconds=5)
#: The weight of the latest call in the mean of tokens a call.
_TOKENS_WEIGHT = 0.1


@dataclass(slots=True)
class _Known:
    """What this process knows of one pace."""

    pace: Pace | None = None
    version: Version | None = None
    #: Slots of a block that was taken, and until when they count.
    spare: int = 0
    spare_until: datetime | None = None
    last_refused_at: datetime | None = None
    tokens_a_call: float = USUAL_TOKENS
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing:
    """The paces as this process knows them."""

    documents: DocumentStore
    clock: Clock
    random: Random
    #: Where calls go: each endpoint has quotas of its own.
    endpoint: str
    limits: CallLimits
    #: How long a job without a `dueAt` waits for room, from its claim.
    patience: timedelta
    _known: defaultdict[str, _Known] = field(default_factory=lambda: defaultdict(_Known))

    def place(self, pool: Pool) -> str:
        """Which pace the calls of a pool keep."""
        return pool_place(pool, self.endpoint)

    def learn(self, stored: Snapshot) -> None:
        """Take in a pace as it was read."""
        place = stored.ref.document_id
        known = self._known[place]
        if known.version is not None and stored.version <= known.version:
            return
        known.pace, known.version = parse_pace(place, stored.data), stored.version

    def slot_tier(self, job: JobRecord, model: str) -> ServiceTier | None:
        """The service tier for which the job has a slot; None without one."""
        now = self.clock.now()
        return next((t for t in ServiceTier if self._may_call(job, Pool(model, t), now)), None)

    def must_wait(self, job: JobRecord, pool: Pool) -> bool:
        """Whether it is plain that a call of the job would get no slot now."""
        now, known = self.clock.now(), self._known[self.place(pool)]
        if self._may_call(job, pool, now):
            return False
        pace = self._pace(pool, now)
        if pace is None or not pace.in_force(now):
            return False
        return pace.queued(now) or (not self._spare(known, now) and not pace.room(now))

    async def admit(self, job: JobRecord, pool: Pool) -> None:
        """Let a call begin, or not.

        Raises:
            NoSlot: the job is to wait.
        """
        if self._may_call(job, pool, self.clock.now()) or await self._has_slot(pool):
            return
        raise NoSlot("it is other calls' turn")

    async def refused(self, job: JobRecord, pool: Pool, error: StepError) -> timedelta | None:
        """Learn from a refused call; how soon it may be made again here, if it may at all."""
        now, known = self.clock.now(), self._known[self.place(pool)]
        pace, last = self._pace(pool, now), known.last_refused_at
        known.last_refused_at = now
        paced = pace is not None and pace.in_force(now)
        alone = last is None or now - last > _ALONE_FOR
        asked = error.retry_after or timedelta(0)
        if alone and not paced and asked <= _LONGEST_WAIT:
            jitter = self.random.uniform(*_FIRST_WAIT_SECONDS)
            return asked + timedelta(seconds=jitter)
        if not self._may_call(job, pool, now):
            # Where the job had a slot, the sweep learns from its record.
            await self._teach(pool, error)
        return None

    def waiting(
        self,
        job: JobRecord,
        run: Mapping[str, object],
        step_id: StepId,
        model: str,
        choice: TierChoice,
        error: StepError,
    ) -> Waiting:
        """The place in the queue of a job whose call was refused, or not let through."""
        now, pool = self.clock.now(), Pool(model, choice.tier)
        waiting = job.waiting or begin_waiting(
            place=self.place(pool),
            run=run,
            step_id=step_id,
            claimed_at=job.claimed_at,
            now=now,
            patience=self.patience,
        )
        pace = self._pace(pool, now)
        refused = not isinstance(error, NoSlot)
        asked = error.retry_after
        return replace(
            waiting,
            place=self.place(pool),
            dearer_at=choice.dearer_at,
            before=pace.waiting if pace else 0,
            slot_until=None,
            refused_at=now if refused else None,
            retry_at=now + asked if refused and asked else None,
        )

    def slot_at(self, waiting: Waiting) -> datetime:
        """When the job is likely to get its slot."""
        now, pace = self.clock.now(), self._known[waiting.place].pace
        likely = pace.slot_after(now, waiting.before) if pace else now
        return min(max(likely, waiting.retry_at or likely), waiting.looked_at)

    def answered(self, pool: Pool, tokens: int) -> None:
        """Learn how large calls are, for limits that count tokens."""
        known = self._known[self.place(pool)]
        known.tokens_a_call += _TOKENS_WEIGHT * (tokens - known.tokens_a_call)

    def _may_call(self, job: JobRecord, pool: Pool, now: datetime) -> bool:
        """Whether the job came out of this queue with a slot."""
        return job.waiting is not None and job.waiting.has_slot_at(self.place(pool), now)

    def _pace(self, pool: Pool, now: datetime) -> Pace | None:
        """The pace as it is known here, under the limit that is configured here."""
        place = self.place(pool)
        # The limits are those of the provider's quota page, which counts the usual tier.
        limits = self.limits if pool.tier is ServiceTier.STANDARD else {}
        limit = limits.get(pool.model, CallLimit())
        known = self._known[place]
        calls = limit.calls(known.tokens_a_call)
        if known.pace is None:
            return None if calls is None else limited(place, now, calls)
        return replace(known.pace, limit=calls)

    async def _has_slot(self, pool: Pool) -> bool:
        known = self._known[self.place(pool)]
        async with known.lock:
            for _ in range(_MAX_TRIES):
                now = self.clock.now()
                pace = self._pace(pool, now)
                if pace is None or not pace.in_force(now):
                    return True
                if self._spare(known, now):
                    known.spare -= 1
                    return True
                if pace.queued(now):
                    return False
                block = max(1, int(pace.rate(now) / 60 * _BLOCK_SECONDS))
                pace, granted = pace.granted(now, block)
                if not granted:
                    return False
                if await self._stored(known, pace):
                    known.spare, known.spare_until = granted - 1, now + _BLOCK_LASTS
                    return True
        return False

    async def _teach(self, pool: Pool, error: StepError) -> None:
        place = self.place(pool)
        known = self._known[place]
        async with known.lock:
            now = self.clock.now()
            pace = self._pace(pool, now)
            if pace is None or not (pace.in_force(now) or pace.steady):
                learned = first_refused(place, now, delay=error.retry_after)
                if pace is not None:
                    # What was known still stands, and is where to begin.
                    learned = pace.refused(now, delay=error.retry_after)
            elif now < pace.resume_at and error.retry_after is None:
                return
            else:
                learned = pace.refused(now, delay=error.retry_after)
            known.spare = 0
            if not await self._stored(known, learned) and known.pace is None:
                known.pace = learned

    async def _stored(self, known: _Known, pace: Pace) -> bool:
        """Whether the pace stands as wanted; if not, what stands is known."""
        try:
            version = await self.documents.commit(
                [pace_write(pace, known.version)], timeout_seconds=CALL_TIMEOUT_SECONDS
            )
        except PortFailure:
            await asyncio.sleep(self.random.uniform(0, _JITTER_SECONDS))
            await self._read(pace.place)
            return False
        known.pace, known.version = pace, version
        return True

    async def _read(self, place: str) -> None:
        try:
            [stored] = await self.documents.read(
                [pace_ref(place)], timeout_seconds=CALL_TIMEOUT_SECONDS
            )
        except PortFailure:
            return
        if stored is not None:
            self.learn(stored)

    def _spare(self, known: _Known, now: datetime) -> int:
        fresh = known.spare_until is not None and now < known.spare_until
        return known.spare if fresh else 0
