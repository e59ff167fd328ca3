"""A lock for each run: steps of one run that end in the same process wait for one another.

The locks only save refused commits: the run stays correct by the guard of each commit. A lock
is forgotten when no step holds it or waits for it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace

from shared.domain.documents import DocumentRef, Snapshot, Version

#: A step that waited so long goes on without the lock: its holder may get no answer.
LONGEST_WAIT_SECONDS = 5.0


@dataclass(slots=True)
class RunLock:
    """The lock of one run within this process."""

    latest: Snapshot | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: Steps that hold the lock or wait for it.
    steps: int = 0

    def newest(self, run: Snapshot) -> Snapshot:
        """The run as the step before left it, or as given if that is newer."""
        latest = self.latest
        return latest if latest is not None and latest.version > run.version else run

    def written(self, run: Snapshot, version: Version) -> None:
        """Pass on the version that a commit gave this run.

        The snapshot passed on still shows the other step as RUNNING. That is safe: the next
        holder reads only its own step.
        """
        self.latest = replace(run, version=version)


class RunLocks:
    """The run locks of one process."""

    def __init__(self) -> None:
        self._locks: dict[DocumentRef, RunLock] = {}

    @asynccontextmanager
    async def at(self, run: DocumentRef) -> AsyncIterator[RunLock]:
        """Hold the run's lock in the block; after a while of waiting, go on without it."""
        run_lock = self._locks.setdefault(run, RunLock())
        run_lock.steps += 1
        locked = False
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(LONGEST_WAIT_SECONDS):
                    locked = await run_lock.lock.acquire()
            yield run_lock
        finally:
            if locked:
                run_lock.lock.release()
            run_lock.steps -= 1
            if not run_lock.steps:
                del self._locks[run]
