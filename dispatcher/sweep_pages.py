"""Pages of unfinished work, however large, slow or odd the documents on them are."""

from collections.abc import Awaitable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from dispatcher.refusing import CALL_TIMEOUT_SECONDS
from shared.domain.documents import Create, DocumentRef, FieldPath, Snapshot, Update, Version
from shared.ports import Clock, Conflict, DocumentStore, PortFailure, StoreUnavailable

#: How often a sweep says how far it came.
SAVE_EVERY_SECONDS = 5.0


class Query(Protocol):
    """One of the two questions of the sweep."""

    def __call__(
        self, *, after: Snapshot | None, limit: int, heads: bool
    ) -> Awaitable[Sequence[Snapshot]]:
        """A page of at most so many documents behind the given one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What one look brought."""

    documents: Sequence[Snapshot]
    #: The document behind which the next page begins; None after the last page.
    last: Snapshot | None
    #: Why `last`, the only document of this page, could not be read.
    failure: PortFailure | None = None


@dataclass(slots=True)
class Pages:
    """Pages of a query.

    A page that fails is halved; then its documents are read one by one, and one that cannot
    be read is passed over. After a success, pages grow again.
    """

    query: Query
    size: int
    limit: int

    def __init__(self, query: Query, size: int) -> None:
        self.query = query
        self.size = self.limit = size

    async def behind(self, last: Snapshot | None) -> Page:
        """The page behind this document; None is the first page.

        Raises:
            StoreUnavailable: not even the names of the documents can be read.
            StoreRefused: the store does not let us read.
        """
        while True:
            try:
                found = await self._ask(last, self.limit)
            except StoreUnavailable as problem:
                if self.limit == 1:
                    return await self._without_the_next(last, problem)
                self.limit = self.limit // 2 if self.limit == self.size else 1
            else:
                asked, self.limit = self.limit, min(self.size, self.limit * 2)
                return Page(documents=found, last=found[-1] if len(found) == asked else None)

    async def _without_the_next(self, last: Snapshot | None, problem: StoreUnavailable) -> Page:
        heads = await self._ask(last, 1, heads=True)
        return Page(documents=(), last=heads[0], failure=problem) if heads else _EMPTY

    async def _ask(
        self, after: Snapshot | None, limit: int, *, heads: bool = False
    ) -> Sequence[Snapshot]:
        return await self.query(after=after, limit=limit, heads=heads)


_EMPTY = Page(documents=(), last=None)


@dataclass(slots=True, kw_only=True)
class Cursor:
    """Where the next sweep begins. No trigger listens there.

    It is written at the end, and every few seconds meanwhile. Pages pass faster than one
    document may be written (https://cloud.google.com/firestore/quotas: once a second), and a
    sweep that dies costs the next one a look at a few seconds' pages. Beside another sweep,
    either may win: what is looked at twice is left alone the second time.
    """

    documents: DocumentStore
    clock: Clock
    ref: DocumentRef
    #: The collection whose documents it names.
    collection: str
    stored: Snapshot | None = None
    #: On the monotonic clock.
    saved_at: float = 0.0

    async def load(self) -> Snapshot | None:
        """The document behind which to begin; None is the beginning.

        Raises:
            StoreUnavailable: Firestore did not answer.
            StoreRefused: Firestore does not let us read.
        """
        self.saved_at = self.clock.monotonic()
        [self.stored] = await self.documents.read(
            [self.ref], timeout_seconds=CALL_TIMEOUT_SECONDS
        )
        data = self.stored.data if self.stored else {}
        after, wake_at = data.get("after"), data.get("wakeAt")
        if not isinstance(after, str) or not after or "/" in after:
            return None
        position = {"wakeAt": wake_at} if isinstance(wake_at, datetime) else {}
        ref = DocumentRef(self.collection, after)
        return Snapshot(ref=ref, version=Version(0), data=position)

    async def follow(self, last: Snapshot) -> None:
        """Save this position, if the last one was saved long enough ago.

        Raises:
            StoreUnavailable: Firestore did not answer.
            StoreRefused: Firestore does not let us write.
        """
        if self.clock.monotonic() - self.saved_at >= SAVE_EVERY_SECONDS:
            await self.save(last)
            self.saved_at = self.clock.monotonic()

    async def save(self, last: Snapshot | None) -> None:
        """Begin the next sweep behind this document.

        Raises:
            StoreUnavailable: Firestore did not answer.
            StoreRefused: Firestore does not let us write.
        """
        fields: dict[str, Any] = {"after": last.ref.document_id if last else None}
        if last is not None and "wakeAt" in last.data:
            fields["wakeAt"] = last.data["wakeAt"]
        known = self.stored.data if self.stored else {"after": None}
        if all(known.get(name) == value for name, value in fields.items()):
            return
        changes: dict[FieldPath, Any] = {(name,): value for name, value in fields.items()}
        write = (
            Update(ref=self.ref, changes=changes, guard=self.stored.version)
            if self.stored
            else Create(ref=self.ref, data=fields)
        )
        with suppress(Conflict):
            version = await self.documents.commit([write], timeout_seconds=CALL_TIMEOUT_SECONDS)
            self.stored = Snapshot(ref=self.ref, version=version, data=fields)
