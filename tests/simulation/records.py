"""Firestore as the simulation has it: the embedded documents, and who wrote what."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from infra.local.cloud.cloud_events import Document
from infra.local.embedded.documents import EmbeddedDocuments
from shared.domain.documents import DocumentRef, FieldPath, Snapshot, Update, Version, Write
from shared.ports import StoreRefused
from tests.simulation.process import EPOCH, Process

#: A guard that always holds. None of our code uses it: mutations put it into their writes.
ANY_VERSION = Version(-1)

_EPOCH_NANOSECONDS = int(EPOCH.timestamp()) * 10**9


@dataclass(frozen=True, slots=True)
class Change:
    """One document before and after a commit."""

    ref: DocumentRef
    old: Document | None
    new: Document | None


class Reader(Protocol):
    """Is told of every commit, at the moment when it happens."""

    def committed(self, who: Process | None, changes: Sequence[Change]) -> None:
        """`who` wrote these documents together; None is anybody other than the worker."""


class Records:
    """All documents, on the server's own clock."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self.documents = EmbeddedDocuments(lambda: _EPOCH_NANOSECONDS + int(seconds() * 1e9))
        #: Gives the weight of a page of documents that a query has found.
        self.weigh: Callable[[Sequence[Snapshot]], int] = lambda _: 0
        self._changes: list[Change] = []
        self._readers: list[Reader] = []
        #: The number of commits.
        self.commits = 0
        #: The worker's commits that did not fit: who wrote, the writes, and the version of the
        #: document of the first write.
        self.unfit: list[tuple[Process, Sequence[Write], int | None]] = []
        self.documents.listen(self._collect)

    def tell(self, reader: Reader) -> None:
        """Tell this reader of every later commit; readers are told in the order they came."""
        self._readers.append(reader)

    def _collect(self, ref: DocumentRef, old: Document | None, new: Document | None) -> None:
        self._changes.append(Change(ref, old, new))

    async def commit(self, who: Process | None, writes: Sequence[Write]) -> Version:
        """Apply all writes or none, without delay; raises as the port does."""
        resolved = [self._resolved(write) for write in writes]
        try:
            version = await self.documents.commit(resolved, timeout_seconds=0)
        except StoreRefused as problem:
            raise (self.refusal(who, writes) if who and problem.unfit else problem) from None
        self._tell(who)
        return version

    def guards_hold(self, writes: Sequence[Write]) -> bool:
        """Whether every guard of the writes holds."""
        found = ((write, self.present(write.ref)) for write in writes)
        return all(
            old is not None and old.update_time == write.guard
            if isinstance(write, Update)
            else old is None
            for write, old in found
        )

    def refusal(self, who: Process, writes: Sequence[Write]) -> StoreRefused:
        """Remember the commit that does not fit, and return its error."""
        found = self.present(writes[0].ref)
        self.unfit.append((who, writes, found.update_time if found else None))
        return StoreRefused("INVALID_ARGUMENT: simulated", unfit=True)

    def act(self, ref: DocumentRef, changes: dict[FieldPath, Any]) -> None:
        """Write fields as anybody other than the worker, whatever the document holds now."""
        write = Update(ref=ref, changes=changes, guard=ANY_VERSION)
        _at_once(self.commit(None, [write]))

    def create(self, write: Write) -> None:
        """Create a document as anybody other than the worker."""
        _at_once(self.commit(None, [write]))

    def delete(self, ref: DocumentRef) -> None:
        """Remove a document as anybody other than the worker."""
        self.documents.delete(ref)
        self._tell(None)

    def present(self, ref: DocumentRef) -> Document | None:
        """The document as it is now; it must not be changed."""
        return self.documents.present(ref)

    def _tell(self, who: Process | None) -> None:
        self.commits += 1
        changes, self._changes = self._changes, []
        for reader in self._readers:
            reader.committed(who, changes)

    def _resolved(self, write: Write) -> Write:
        if not isinstance(write, Update) or write.guard != ANY_VERSION:
            return write
        found = self.documents.present(write.ref)
        return replace(write, guard=Version(found.update_time)) if found else write


def _at_once(work: Any) -> None:
    """Run a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration:
        return
    raise AssertionError("it waits")


def moment_of(document: Document) -> datetime:
    """When the document was last written, on the server's clock."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(
        microseconds=document.update_time // 1_000
    )
