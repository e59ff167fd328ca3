"""What the two stages need from outside, each named for the need.

Adapters translate: no vendor's type or error passes through these. An operation has one of
three outcomes (done, refused for good, unavailable), and never outlives its timeout by more
than half a second.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from shared.domain.documents import DocumentRef, Snapshot, Version, Write
from shared.domain.messages import OutgoingMessage


class PortFailure(Exception):
    """A port did not do what it was asked for.

    The text names the status and, where it is known, a short reason. It never quotes what was
    asked for.
    """


class Unavailable(PortFailure):
    """No answer, or one that may be another the next time."""


class Refused(PortFailure):
    """Refused for good: the same request gets the same answer until somebody mends something.

    `unfit` is True where the content of the request is to blame, such as a document that is
    too large: another request may be granted. Otherwise nobody's request is, as without a
    permission.
    """

    def __init__(self, text: str, *, unfit: bool = False) -> None:
        super().__init__(text)
        self.unfit = unfit


class Conflict(PortFailure):
    """A guard of the commit did not hold, or its own first try was applied and its answer lost.

    The caller reads the documents back before it believes the refusal.
    """


class StoreUnavailable(Unavailable):
    """The document store did not answer; whether a commit was applied is not known."""


class StoreRefused(Refused):
    """The document store refuses for good; nothing was written."""


class QueueUnavailable(Unavailable):
    """The queue did not confirm the messages; some of them may have been taken."""


class QueueRefused(Refused):
    """The queue refuses the messages for good; none of this request was taken."""


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
            StoreRefused: the store does not let us read, or has no such place.
        """
        ...

    async def commit(self, writes: Sequence[Write], *, timeout_seconds: float) -> Version:
        """Apply all writes or none; the version that the written documents then have.

        Raises:
            Conflict: a guard did not hold (see there).
            StoreUnavailable: no answer within the timeout; the writes may have been applied.
            StoreRefused: a document would not fit, or the store does not let us write.
        """
        ...


class UnfinishedWork(Protocol):
    """Queries for unfinished work, for the sweep, which gets neither event nor message.

    A page shorter than its limit is the last one. Pages are not one moment's view: what
    changes between two of them may be seen twice or not at all. With `heads`, a page holds of
    every document only what a next page needs to begin behind it, whatever its size.
    """

    async def due_jobs(
        self,
        now: datetime,
        *,
        after: Snapshot | None,
        limit: int,
        timeout_seconds: float,
        heads: bool = False,
    ) -> Sequence[Snapshot]:
        """Job records with `wakeAt` not after `now`, the longest due first, then by id.

        Those without a `shard` are not among them: see `dispatcher.unsharded`.

        The page begins behind `after`, the last record of the page before, of which only the
        id and `wakeAt` are looked at; None is the first.

        Raises:
            StoreUnavailable: no answer within the timeout.
            StoreRefused: the store does not let us read.
        """
        ...

    async def waiting_jobs(
        self, *, after: str, before: str, limit: int, timeout_seconds: float
    ) -> Sequence[Snapshot]:
        """Job records with `queue` between the two texts, in the order of that field.

        Raises:
            StoreUnavailable: no answer within the timeout.
        """
        ...

    async def count_waiting(self, *, after: str, before: str, timeout_seconds: float) -> int:
        """How many job records `waiting_jobs` would find without a limit.

        Raises:
            StoreUnavailable: no answer within the timeout.
        """
        ...

    async def running_runs(
        self,
        collection: str,
        *,
        after: str | None,
        limit: int,
        timeout_seconds: float,
        heads: bool = False,
    ) -> Sequence[Snapshot]:
        """Runs of the collection with status RUNNING, by document id.

        Of each run, at least the fields that decide what to claim. The page begins behind the
        id `after`, whether or not there still is such a run; None is the first.

        Raises:
            StoreUnavailable: no answer within the timeout.
            StoreRefused: the store does not let us read.
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
            QueueRefused: there is no such topic, or it does not take this message from us.
        """
        ...
