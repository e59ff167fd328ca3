"""When the next call of an evaluation may begin: production comes first."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from shared.ports import Clock

#: After a refusal the provider's quota is left to production for so long, doubled with each.
FIRST_REST_SECONDS = 60.0
LONGEST_REST_SECONDS = 960.0
#: After a refusal turns are twice as far apart as before, but no further than this.
LONGEST_DISTANCE_SECONDS = 60.0
#: Seconds between two looks at what production leaves.
LOOK_EVERY_SECONDS = 10.0
_MINUTE_SECONDS = 60.0


@dataclass(slots=True, kw_only=True)
class EvaluationPace:
    """One turn after another, at an even distance, with a rest after each refusal.

    An evaluation has no deadline and production has: it never asks faster than it was told,
    nor faster than production leaves room for. After a refusal for quota it begins nothing for
    a while, and asks half as often from then on.
    """

    clock: Clock
    #: The shortest time between two turns; 0 for no limit.
    every_seconds: float
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    #: Calls a minute that production leaves, infinite where that is not known; None where
    #: there is no production.
    left_by_production: Callable[[], Awaitable[float]] | None = None
    _look_again: float = 0.0
    _left: float = math.inf
    _next: float = 0.0
    _rests_until: float = 0.0
    _rest_seconds: float = FIRST_REST_SECONDS
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def turn(self) -> None:
        """Return when a delivery may be made."""
        async with self._lock:
            wait = self._next - self.clock.monotonic()
            while wait > 0:
                await self.sleep(wait)
                wait = self._next - self.clock.monotonic()
            await self._let_production_pass()
            distance = max(self.every_seconds, _MINUTE_SECONDS / self._left)
            self._next = max(self._next, self.clock.monotonic()) + distance

    async def _let_production_pass(self) -> None:
        if self.left_by_production is None or self.clock.monotonic() < self._look_again:
            return
        self._left = await self.left_by_production()
        while self._left < 1:
            await self.sleep(LOOK_EVERY_SECONDS)
            self._left = await self.left_by_production()
        self._look_again = self.clock.monotonic() + LOOK_EVERY_SECONDS

    def refused(self) -> None:
        """Rest: the provider's quota is used up, perhaps by production."""
        now = self.clock.monotonic()
        if now < self._rests_until:
            return  # A call that was under way: it tells nothing new.
        self._rests_until = now + self._rest_seconds
        self._next = max(self._next, self._rests_until)
        self._rest_seconds = min(2 * self._rest_seconds, LONGEST_REST_SECONDS)
        self.every_seconds = min(2 * self.every_seconds, LONGEST_DISTANCE_SECONDS)

    def accepted(self) -> None:
        """Take in that a call was not refused: the next rest is a short one again."""
        self._rest_seconds = FIRST_REST_SECONDS
