"""Elapsed seconds, without those in which a busy machine gave this process no turn."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

#: Seconds that an operation may take beyond the time it was given.
GRACE = 0.5
_TICK_SECONDS = 0.02


@dataclass(slots=True)
class Stopwatch:
    """Measures from when it is made, in seconds."""

    _begun: float = field(default_factory=time.monotonic)
    _without_a_turn: float = 0.0

    @property
    def seconds(self) -> float:
        """What has passed, but for the time in which this process got no turn."""
        return time.monotonic() - self._begun - self._without_a_turn

    async def _watch(self) -> None:
        while True:
            begun, used = time.monotonic(), time.process_time()
            await asyncio.sleep(_TICK_SECONDS)
            late = time.monotonic() - begun - _TICK_SECONDS
            # What the process itself computed meanwhile is its own fault.
            self._without_a_turn += max(0.0, late - (time.process_time() - used))


@asynccontextmanager
async def stopwatch() -> AsyncIterator[Stopwatch]:
    """One that runs as long as the block does; read it inside."""
    watch = Stopwatch()
    watching = asyncio.create_task(watch._watch())
    try:
        yield watch
    finally:
        watching.cancel()
