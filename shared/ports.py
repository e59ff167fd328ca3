"""What the two stages need from outside, each named for the need.

Adapters translate: no vendor's type or error passes through these.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from shared.domain.documents import DocumentRef, Snapshot, Version, Write
from shared.domain.messages import OutgoingMessage


class Conflict(Exception):
    """A guard of the commit did not hold, or its own first try was applied and its answer lost.

    Whoever gets this reads back before it believes that it lost.
    """


class StoreUnavailable(Exception):
    """The document store did not answer; whether a commit was applied is not known."""


class QueueUnavailable(Exception):
    """The queue did not confirm the messages; some of them may have been taken."""


class Clock(Protocol):
    """The time."""

    def now(self) -> datetime:
        """The time of day, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        ...


class DocumentStore(Protocol):
    """Documents, read together and written together."""

    async def read(
        self, refs: Sequence[DocumentRef], *, timeout_seconds: float
    ) -> Sequence[Snapshot | None]:
        """The documents as of one moment, in the order asked for; None where there is none.

        Raises:
            StoreUnavailable: no answer within the timeout.
        """
        ...

    async def commit(self, writes: Sequence[Write], *, timeout_seconds: float) -> Version:
        """Apply all writes or none; the version that the written documents then have.

        Raises:
            Conflict: a guard did not hold (see there).
            StoreUnavailable: no answer within the timeout; the writes may have been applied.
        """
        ...


class UnfinishedWork(Protocol):
    """What is left to do, found without an event and without a message.

    A page shorter than its limit is the last one. Pages are not one moment's view: what
    changes between two of them may be seen twice or not at all.
    """

    async def due_jobs(
        self, now: datetime, *, after: Snapshot | None, limit: int, timeout_seconds: float
    ) -> Sequence[Snapshot]:
        """Job records with `wakeAt` not after `now`, the longest due first, then by id.

        The page begins behind `after`, the last record of the page before; None is the first.

        Raises:
            StoreUnavailable: no answer within the timeout.
        """
        ...

    async def running_runs(
        self, collection: str, *, after: str | None, limit: int, timeout_seconds: float
    ) -> Sequence[Snapshot]:
        """Runs of the collection with status RUNNING, by document id.

        The page begins behind the id `after`, whether or not there still is such a run; None
        is the first.

        Raises:
            StoreUnavailable: no answer within the timeout.
        """
        ...


class Queue(Protocol):
    """Messages to one topic."""

    async def publish(
        self, messages: Sequence[OutgoingMessage], *, timeout_seconds: float
    ) -> None:
        """Return once every message is stored.

        Raises:
            QueueUnavailable: not confirmed within the timeout.
        """
        ...
