"""A provider with a cheap tier whose room comes and goes, in virtual time."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from random import Random

from executor.contract.tiers import ServiceTier
from executor.ports import (
    CallFailed,
    CallForgotten,
    CallRunning,
    CallState,
    KeptCall,
    ModelAnswer,
    ModelRequest,
)
from shared.domain.errors import GeminiRequestFailed
from tests.simulation.model import good_answer, marker_of

_BEGIN_SECONDS = 0.2
#: How long a call takes at each tier; flex is slow even when it has room.
CALL_SECONDS = {ServiceTier.FLEX: (60.0, 240.0), ServiceTier.STANDARD: (8.0, 22.0)}


@dataclass(slots=True, kw_only=True)
class Work:
    """A call at work."""

    step: str
    tier: ServiceTier
    ends_at: float
    answer: ModelAnswer
    evicted: bool = False
    stopped: bool = False


@dataclass(slots=True, kw_only=True)
class TieredProvider:
    """Implements the BackgroundModel port; flex has room for only this many calls at a time."""

    room: Callable[[float], float]
    draw: Random
    call_seconds: Mapping[ServiceTier, tuple[float, float]] = field(
        default_factory=lambda: CALL_SECONDS
    )
    works: dict[str, Work] = field(default_factory=dict)
    #: How many answers were read, by tier and by step.
    answered: Counter[ServiceTier] = field(default_factory=Counter)
    answers_of: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    evicted: int = 0
    stopped: int = 0
    #: The most calls of one step that were at work at once.
    most_beside: int = 0
    #: The most steps that had a call at work at the same time.
    most_steps: int = 0
    _ids: "count[int]" = field(default_factory=count)

    async def begin(self, request: ModelRequest, *, timeout_seconds: float) -> str:
        """See the port."""
        del timeout_seconds
        await asyncio.sleep(_BEGIN_SECONDS)
        now, tier = _now(), request.service_tier
        self._evict(now)
        if tier is ServiceTier.FLEX and self._busy(now) >= int(self.room(now)):
            self.refused += 1
            raise GeminiRequestFailed("no room", refused=True)
        step, call_id = marker_of(request), f"call-{next(self._ids)}"
        answer = await good_answer(request)
        self.works[call_id] = Work(
            step=step,
            tier=tier,
            ends_at=now + self.draw.uniform(*self.call_seconds[tier]),
            answer=replace(answer, service_tier=str(tier)),
        )
        beside = [w for w in self.works.values() if w.step == step and _at_work(w, now)]
        self.most_beside = max(self.most_beside, len(beside))
        steps = {each.step for each in self.works.values() if _at_work(each, now)}
        self.most_steps = max(self.most_steps, len(steps))
        return call_id

    async def fetch(self, call_id: str, *, timeout_seconds: float) -> CallState:
        """See the port."""
        del timeout_seconds
        await asyncio.sleep(_BEGIN_SECONDS)
        now = _now()
        self._evict(now)
        work = self.works.get(call_id)
        if work is None:
            return CallForgotten()
        if work.evicted:
            return CallFailed(GeminiRequestFailed("evicted", refused=True))
        if work.stopped:
            return CallFailed(GeminiRequestFailed("cancelled", maybe_billed=True))
        if now < work.ends_at:
            return CallRunning()
        self.answered[work.tier] += 1
        self.answers_of[work.step] += 1
        return work.answer

    async def describe(self, call_id: str, *, timeout_seconds: float) -> KeptCall | None:
        """See the port; no hook asks here."""
        del call_id, timeout_seconds
        return None

    async def stop(self, call_id: str, *, timeout_seconds: float) -> None:
        """See the port."""
        del timeout_seconds
        await asyncio.sleep(_BEGIN_SECONDS)
        work = self.works.get(call_id)
        if work is not None and _at_work(work, _now()):
            work.stopped = True
            self.stopped += 1

    async def forget(self, call_id: str, *, ended: bool, timeout_seconds: float) -> None:
        """See the port."""
        del ended, timeout_seconds
        self.works.pop(call_id, None)

    def _busy(self, now: float) -> int:
        return sum(w.tier is ServiceTier.FLEX and _at_work(w, now) for w in self.works.values())

    def _evict(self, now: float) -> None:
        """Evict the calls for which there is no more room, beginning with the latest."""
        flex = [w for w in self.works.values() if w.tier is ServiceTier.FLEX]
        for work in [w for w in flex if _at_work(w, now)][max(0, int(self.room(now))) :]:
            work.evicted = True
            self.evicted += 1


def _at_work(work: Work, now: float) -> bool:
    return not (work.evicted or work.stopped) and now < work.ends_at


def _now() -> float:
    return asyncio.get_running_loop().time()
