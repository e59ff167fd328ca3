"""Stores that are reached, and whose client libraries are loaded, when first needed.

Most events of a busy database ask for nothing, and an instance that sees no other never pays
for Firestore's and Pub/Sub's clients: about half of its start and of its memory
(docs/benchmarks.md).
"""

from collections.abc import Callable, Sequence
from functools import cache

from shared.domain.documents import DocumentRef, Snapshot, Version, Write
from shared.domain.messages import OutgoingMessage
from shared.ports import DocumentStore, Queue


class LazyDocuments:
    """Implements the DocumentStore port by a store that is made at the first call."""

    def __init__(self, make: Callable[[], DocumentStore]) -> None:
        self._store = cache(make)

    async def read(
        self, refs: Sequence[DocumentRef], *, timeout_seconds: float
    ) -> Sequence[Snapshot | None]:
        """See the port."""
        return await self._store().read(refs, timeout_seconds=timeout_seconds)

    async def commit(self, writes: Sequence[Write], *, timeout_seconds: float) -> Version:
        """See the port."""
        return await self._store().commit(writes, timeout_seconds=timeout_seconds)


class LazyQueue:
    """Implements the Queue port by a queue that is made at the first call."""

    def __init__(self, make: Callable[[], Queue]) -> None:
        self._queue = cache(make)

    async def publish(
        self, messages: Sequence[OutgoingMessage], *, timeout_seconds: float
    ) -> None:
        """See the port."""
        await self._queue().publish(messages, timeout_seconds=timeout_seconds)
