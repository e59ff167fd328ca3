"""Documents of the Firestore emulator in the place of embedded ones."""

from collections.abc import Sequence
from datetime import datetime

from google.cloud.firestore_v1.async_client import AsyncClient

from infra.local.cloud.cloud_events import Document
from infra.local.embedded.documents import Listener
from shared.adapters.firestore import FirestoreDocuments, FirestoreUnfinishedWork
from shared.domain.documents import DocumentRef, Snapshot, Version, Write


class HeardFirestore:
    """What an embedded environment asks of its documents; a listener hears of each commit.

    The emulator's own events are another test's subject.
    """

    def __init__(self, client: AsyncClient) -> None:
        self._documents = FirestoreDocuments(client)
        self._work = FirestoreUnfinishedWork(client)
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Call this after every commit, for each of its documents."""
        self._listeners.append(listener)

    async def read(
        self, refs: Sequence[DocumentRef], *, timeout_seconds: float
    ) -> Sequence[Snapshot | None]:
        """See the port; a loaded emulator is given longer."""
        return await self._documents.read(refs, timeout_seconds=timeout_seconds * 10)

    async def commit(self, writes: Sequence[Write], *, timeout_seconds: float) -> Version:
        """See the port; a loaded emulator is given longer."""
        refs = [write.ref for write in writes]
        before = await self.read(refs, timeout_seconds=timeout_seconds)
        version = await self._documents.commit(writes, timeout_seconds=timeout_seconds * 10)
        after = await self.read(refs, timeout_seconds=timeout_seconds)
        for ref, old, new in zip(refs, before, after, strict=True):
            for listener in self._listeners:
                listener(ref, _document(old), _document(new))
        return version

    async def due_jobs(
        self,
        now: datetime,
        *,
        after: Snapshot | None,
        limit: int,
        timeout_seconds: float,
        heads: bool = False,
    ) -> Sequence[Snapshot]:
        """See the port."""
        return await self._work.due_jobs(
            now, after=after, limit=limit, timeout_seconds=timeout_seconds, heads=heads
        )

    async def waiting_jobs(
        self, *, after: str, before: str, limit: int, timeout_seconds: float
    ) -> Sequence[Snapshot]:
        """See the port."""
        return await self._work.waiting_jobs(
            after=after, before=before, limit=limit, timeout_seconds=timeout_seconds
        )

    async def count_waiting(self, *, after: str, before: str, timeout_seconds: float) -> int:
        """See the port."""
        return await self._work.count_waiting(
            after=after, before=before, timeout_seconds=timeout_seconds
        )

    async def running_runs(
        self,
        collection: str,
        *,
        after: str | None,
        limit: int,
        timeout_seconds: float,
        heads: bool = False,
    ) -> Sequence[Snapshot]:
        """See the port."""
        return await self._work.running_runs(
            collection, after=after, limit=limit, timeout_seconds=timeout_seconds, heads=heads
        )


def _document(snapshot: Snapshot | None) -> Document | None:
    if snapshot is None:
        return None
    return Document(
        fields=snapshot.data, create_time=snapshot.version, update_time=snapshot.version
    )
