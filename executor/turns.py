"""Turns at a run: steps of one run that end in the same process do not race each other.

A courtesy alone: every commit is guarded by the run's version, whoever's turn it is. What is
remembered lasts as long as somebody waits.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

from shared.domain.documents import DocumentRef, Snapshot, Version

#: Whoever waited so long goes on without a turn: perhaps the one before gets no answer.
LONGEST_WAIT_SECONDS = 5.0


@dataclass(slots=True)
class Turn:
    """The right to write a run next, as far as this process goes."""

    latest: Snapshot | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: Steps that have the turn or want it.
    steps: int = 0

    def newest(self, run: Snapshot) -> Snapshot:
        """The run as the step before left it, or as given if that is newer."""
        latest = self.latest
        return latest if latest is not None and latest.version > run.version else run

    def written(self, run: Snapshot, version: Version) -> None:
        """Tell the next that a commit on this run gave it this version.

        The step that ended with it is not up to date in what the next one is given, which
        looks at its own step alone.
        """
        self.latest = replace(run, version=version)


class RunTurns:
    """The turns of one process."""

    def __init__(self) -> None:
        self._turns: dict[DocumentRef, Turn] = {}

    @asynccontextmanager
    async def at(self, run: DocumentRef) -> AsyncIterator[Turn]:
        """Wait for a turn at the run, for a while."""
        turn = self._turns.setdefault(run, Turn())
        turn.steps += 1
        locked = False
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(LONGEST_WAIT_SECONDS):
                    locked = await turn.lock.acquire()
            yield turn
        finally:
            if locked:
                turn.lock.release()
            turn.steps -= 1
            if not turn.steps:
                del self._turns[run]
