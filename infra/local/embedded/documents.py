"""Firestore's behavior behind the ports of the documents, in memory."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from heapq import nsmallest
from typing import Any, TypeAlias

from infra.local.cloud.cloud_events import Document
from shared.domain.document_size import MAX_DOCUMENT_BYTES, document_overhead
from shared.domain.documents import (
    DELETE,
    Create,
    DocumentRef,
    FieldPath,
    Snapshot,
    Update,
    Version,
    Write,
)
from shared.domain.flow_run import RunStatus
from shared.domain.job_documents import COLLECTION as JOBS
from shared.domain.job_documents import QUEUE, SHARD, SHARDS
from shared.ports import Conflict, DocumentStore, StoreRefused

#: Firestore's times have microseconds.
_TICK = 1_000
#: What a stored value holds others in.
_NESTED = (dict, list)

#: Called once for each changed document, after the commit: where, before, after.
Listener: TypeAlias = Callable[[DocumentRef, Document | None, Document | None], None]


class EmbeddedDocuments:
    """Implements the DocumentStore and UnfinishedWork ports; belongs to one event loop.

    Within that loop a commit is atomic, since nothing is awaited in it. Values go in and out
    as copies. Every commit of a document is told to the listeners, also one that changes
    nothing, as Firestore's events do. The times of the documents come from
    `now_nanoseconds`, since 1970.
    """

    def __init__(self, now_nanoseconds: Callable[[], int] = time.time_ns) -> None:
        self._now_nanoseconds = now_nanoseconds
        self._documents: dict[DocumentRef, Document] = {}
        #: The index of the jobs' field `queue`.
        self._queue: dict[DocumentRef, str] = {}
        self._listeners: list[Listener] = []
        self._last = 0

    def listen(self, listener: Listener) -> None:
        """Tell this listener of every later change."""
        self._listeners.append(listener)

    async def read(
        self, refs: Sequence[DocumentRef], *, timeout_seconds: float
    ) -> Sequence[Snapshot | None]:
        """Never waits; see the port."""
        del timeout_seconds
        return [self._snapshot(ref) for ref in refs]

    async def commit(self, writes: Sequence[Write], *, timeout_seconds: float) -> Version:
        """Never waits; see the port."""
        del timeout_seconds
        moment = max(self._now_nanoseconds() // _TICK * _TICK, self._last + _TICK)
        staged: dict[DocumentRef, Document] = {}
        for write in writes:
            present = staged.get(write.ref, self._documents.get(write.ref))
            staged[write.ref] = _written(write, present, moment)
            size = document_overhead(write.ref) + staged[write.ref].fields_bytes
            if size > MAX_DOCUMENT_BYTES:
                raise StoreRefused("INVALID_ARGUMENT: too large", unfit=True)
        self._last = moment
        self._apply(staged)
        return Version(max(document.update_time for document in staged.values()))

    async def due_jobs(
        self,
        now: datetime,
        *,
        after: Snapshot | None,
        limit: int,
        timeout_seconds: float,
        heads: bool = False,
    ) -> Sequence[Snapshot]:
        """Never waits; see the port."""
        del timeout_seconds, heads
        due = {
            (document.fields["wakeAt"], ref.document_id): ref
            for ref, document in self._documents.items()
            if ref.collection == JOBS and _due(document.fields, now)
        }
        last = (after.data["wakeAt"], after.ref.document_id) if after else None
        keys = sorted(key for key in due if last is None or key > last)
        return self._present(due[key] for key in keys[:limit])

    async def waiting_jobs(
        self, *, after: str, before: str, limit: int, timeout_seconds: float
    ) -> Sequence[Snapshot]:
        """Never waits; see the port."""
        del timeout_seconds
        waiting = self._waiting(after, before)
        return self._present(waiting[key] for key in nsmallest(limit, waiting))

    async def count_waiting(self, *, after: str, before: str, timeout_seconds: float) -> int:
        """Never waits; see the port."""
        del timeout_seconds
        return len(self._waiting(after, before))

    def _waiting(self, after: str, before: str) -> Mapping[str, DocumentRef]:
        return {key: ref for ref, key in self._queue.items() if after < key < before}

    async def running_runs(
        self,
        collection: str,
        *,
        after: str | None,
        limit: int,
        timeout_seconds: float,
        heads: bool = False,
    ) -> Sequence[Snapshot]:
        """Never waits; see the port."""
        del timeout_seconds, heads
        ids = sorted(
            ref.document_id
            for ref, document in self._documents.items()
            if ref.collection == collection
            and document.fields.get("status") == RunStatus.RUNNING
            and (after is None or ref.document_id > after)
        )
        return self._present(DocumentRef(collection, name) for name in ids[:limit])

    def snapshots(self, collection: str) -> Sequence[Snapshot]:
        """All documents of a collection."""
        return self._present(ref for ref in self._documents if ref.collection == collection)

    def delete(self, ref: DocumentRef) -> None:
        """Remove a document if there is one: an operator's act, never the worker's."""
        old = self._documents.pop(ref, None)
        self._queue.pop(ref, None)
        if old is not None:
            self._tell(ref, old, None)

    def present(self, ref: DocumentRef) -> Document | None:
        """The document as it stands: not a copy, and not to be changed."""
        return self._documents.get(ref)

    def _present(self, refs: Iterable[DocumentRef]) -> Sequence[Snapshot]:
        return [found for ref in refs if (found := self._snapshot(ref)) is not None]

    def _snapshot(self, ref: DocumentRef) -> Snapshot | None:
        found = self._documents.get(ref)
        if found is None:
            return None
        version = Version(found.update_time)
        return Snapshot(ref=ref, version=version, data=_again(found.fields))

    def _apply(self, staged: Mapping[DocumentRef, Document]) -> None:
        changes = [(ref, self._documents.get(ref), new) for ref, new in staged.items()]
        self._documents.update(staged)
        for ref, new in staged.items():
            self._note_queue(ref, new)
        for ref, old, new in changes:
            self._tell(ref, old, new)

    def _note_queue(self, ref: DocumentRef, document: Document) -> None:
        key = document.fields.get(QUEUE) if ref.collection == JOBS else None
        if isinstance(key, str):
            self._queue[ref] = key
        else:
            self._queue.pop(ref, None)

    def _tell(self, ref: DocumentRef, old: Document | None, new: Document | None) -> None:
        for listener in self._listeners:
            listener(ref, old, new)


class CountedDocuments:
    """Implements the DocumentStore port by another store, and counts the calls of it."""

    def __init__(self, store: DocumentStore) -> None:
        self._store = store
        #: Calls of `read` and `commit` so far.
        self.calls = 0

    async def read(
        self, refs: Sequence[DocumentRef], *, timeout_seconds: float
    ) -> Sequence[Snapshot | None]:
        """See the port."""
        self.calls += 1
        return await self._store.read(refs, timeout_seconds=timeout_seconds)

    async def commit(self, writes: Sequence[Write], *, timeout_seconds: float) -> Version:
        """See the port."""
        self.calls += 1
        return await self._store.commit(writes, timeout_seconds=timeout_seconds)


def _written(write: Write, present: Document | None, moment: int) -> Document:
    """The document after the write; what is stored now is left as it is."""
    match write:
        case Create():
            if present is not None:
                raise Conflict("AlreadyExists")
            return Document(fields=_copy(write.data), create_time=moment, update_time=moment)
        case Update():
            if present is None or present.update_time != write.guard:
                raise Conflict("FailedPrecondition")
            return _updated(write, present, moment)


def _updated(write: Update, present: Document, moment: int) -> Document:
    fields: Mapping[str, Any] = present.fields
    for path, value in write.changes.items():
        fields = _with(fields, path, value)
    # Firestore does not move the update time of a document that stays as it was.
    unchanged = fields == present.fields
    return Document(
        fields=fields,
        create_time=present.create_time,
        update_time=present.update_time if unchanged else moment,
    )


def _with(fields: Mapping[str, Any], path: FieldPath, value: Any) -> Mapping[str, Any]:
    """The fields with this value at this path; they share what lies beside the path."""
    name, *rest = path
    changed = dict(fields)
    if rest:
        inner = fields.get(name)
        if not isinstance(inner, dict):
            if value is DELETE:
                return fields
            inner = {}
        changed[name] = _with(inner, tuple(rest), value)
    elif value is DELETE:
        changed.pop(name, None)
    else:
        changed[name] = _copy(value)
    return changed


def _due(job: Mapping[str, Any], now: datetime) -> bool:
    # As in a query of Firestore: a value of another type is on neither side.
    wake_at = job.get("wakeAt")
    return job.get(SHARD) in range(SHARDS) and isinstance(wake_at, datetime) and wake_at <= now


def _salted(key: object) -> int:
    return hash(str(key))


def _copy(value: Any) -> Any:
    """A deep copy with the types that Firestore gives back; its limit of depth bounds this."""
    match value:
        case str():
            # A member of a string enumeration is stored as what it says.
            return str(value)
        case None | bool() | int() | float() | bytes() | datetime():
            return value
        case list() | tuple():
            return [_copy(item) for item in value]
        case dict() | Mapping():
            # A map has no order in Firestore, and its client's is another one in each process.
            return {_key(key): _copy(value[key]) for key in sorted(value, key=_salted)}
        case _:
            raise TypeError(f"a document cannot hold a {type(value).__name__}")


def _again(stored: Any) -> Any:
    """A deep copy of what is stored, which `_copy` has brought into its form."""
    # Most values are plain, and a call for each of them is what copying costs.
    match stored:
        case dict():
            return {
                key: _again(value) if isinstance(value, _NESTED) else value
                for key, value in stored.items()
            }
        case list():
            return [_again(item) for item in stored]
        case _:
            return stored


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"a map's keys are strings, not {type(key).__name__}")
    return str(key)
