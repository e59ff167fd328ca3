"""What the console reads from the database, counted, and how that bounds a page that is open.

Firestore charges for each document that a query or a lookup returns, and at least one for a
query (https://cloud.google.com/firestore/pricing).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from infra.ops.environment.connection import Connection
from infra.ops.environment.listing import Question, RunListing
from shared.domain.documents import DocumentRef, Snapshot, Version, Write
from shared.ports import DocumentStore

#: A visible page reads at most so much by keeping itself current; docs/reference/cost.md.
READS_PER_HOUR = 10_000
_HOUR_SECONDS = 3_600


@dataclass(slots=True)
class ReadMeter:
    """Document reads so far."""

    reads: int = 0


@dataclass(frozen=True, slots=True)
class MeteredDocuments:
    """Implements DocumentStore by another one, and counts."""

    store: DocumentStore
    meter: ReadMeter

    async def read(
        self, refs: Sequence[DocumentRef], *, timeout_seconds: float
    ) -> Sequence[Snapshot | None]:
        """See the port."""
        self.meter.reads += len(set(refs))
        return await self.store.read(refs, timeout_seconds=timeout_seconds)

    async def commit(self, writes: Sequence[Write], *, timeout_seconds: float) -> Version:
        """See the port."""
        return await self.store.commit(writes, timeout_seconds=timeout_seconds)


@dataclass(frozen=True, slots=True)
class MeteredListing:
    """Implements RunListing by another one, and counts."""

    listing: RunListing
    meter: ReadMeter

    async def find(self, question: Question, *, timeout_seconds: float) -> Sequence[Snapshot]:
        """See the port."""
        found = await self.listing.find(question, timeout_seconds=timeout_seconds)
        self.meter.reads += max(len(found), 1)
        return found

    async def count(
        self, collection: str, equal: Mapping[str, str | bool], *, timeout_seconds: float
    ) -> int:
        """See the port."""
        self.meter.reads += 1
        return await self.listing.count(collection, equal, timeout_seconds=timeout_seconds)

    async def count_waiting(self, *, after: str, before: str, timeout_seconds: float) -> int:
        """See the port."""
        self.meter.reads += 1
        return await self.listing.count_waiting(
            after=after, before=before, timeout_seconds=timeout_seconds
        )

    async def ids(
        self, collection: str, *, limit: int, timeout_seconds: float
    ) -> Sequence[str]:
        """See the port."""
        found = await self.listing.ids(collection, limit=limit, timeout_seconds=timeout_seconds)
        self.meter.reads += max(len(found), 1)
        return found


def metered(connection: Connection) -> tuple[Connection, ReadMeter]:
    """The connection with a meter of its own."""
    meter = ReadMeter()
    counted = replace(
        connection,
        documents=MeteredDocuments(connection.documents, meter),
        runs=MeteredListing(connection.runs, meter),
    )
    return counted, meter


def live_seconds(reads: int, *, at_least: float) -> float:
    """How long a page waits before it asks again, when asking takes so many reads."""
    return max(at_least, round(reads * _HOUR_SECONDS / READS_PER_HOUR, 1))
