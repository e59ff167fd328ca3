"""Firestore behind the ports of the documents.

The client's own retries are off for commits: when a first try was applied and its answer
lost, a hidden second try fails its precondition and looks like a loss. The callers read
back instead. Reads are safe to repeat and are retried here, within their timeout.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from google.api_core import exceptions, retry_async
from google.api_core.datetime_helpers import DatetimeWithNanoseconds
from google.cloud.firestore_v1.async_client import AsyncClient
from google.cloud.firestore_v1.async_query import AsyncQuery
from google.cloud.firestore_v1.base_query import FieldFilter
from google.cloud.firestore_v1.field_path import FieldPath
from google.cloud.firestore_v1.transforms import DELETE_FIELD
from google.protobuf.timestamp_pb2 import Timestamp

from shared.domain.documents import DELETE, Create, DocumentRef, Snapshot, Version, Write
from shared.domain.flow_run import RunStatus
from shared.domain.job_documents import COLLECTION as JOBS
from shared.ports import Conflict, StoreUnavailable

_T = TypeVar("_T")
_ID = "__name__"
#: The service answered, and nothing was written.
_CONFLICTS = (
    exceptions.FailedPrecondition,
    exceptions.AlreadyExists,
    exceptions.NotFound,
    exceptions.Aborted,
)
_TRANSIENT = retry_async.if_exception_type(
    exceptions.ServiceUnavailable,
    exceptions.InternalServerError,
    exceptions.DeadlineExceeded,
    exceptions.Aborted,
)


class FirestoreDocuments:
    """Implements the DocumentStore port. Make it inside the event loop that uses it."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def read(
        self, refs: Sequence[DocumentRef], *, timeout_seconds: float
    ) -> Sequence[Snapshot | None]:
        """One BatchGetDocuments call; see the port."""
        found = await _read(lambda: self._read_once(refs, timeout_seconds), timeout_seconds)
        return [found.get(ref) for ref in refs]

    async def commit(self, writes: Sequence[Write], *, timeout_seconds: float) -> Version:
        """One Commit call; see the port."""
        batch = self._client.batch()
        for write in writes:
            document = self._document(write.ref)
            if isinstance(write, Create):
                batch.create(document, dict(write.data))
            else:
                guard = self._client.write_option(last_update_time=_timestamp(write.guard))
                batch.update(document, _changes(write.changes), option=guard)
        try:
            results = await batch.commit(retry=None, timeout=timeout_seconds)
        except _CONFLICTS as error:
            raise Conflict(_name(error)) from None
        except (exceptions.GoogleAPICallError, exceptions.RetryError) as error:
            raise StoreUnavailable(_name(error)) from None
        return max(_version(result.update_time) for result in results)

    async def _read_once(
        self, refs: Sequence[DocumentRef], timeout_seconds: float
    ) -> dict[DocumentRef, Snapshot]:
        documents = [self._document(ref) for ref in refs]
        found: dict[DocumentRef, Snapshot] = {}
        async for document in self._client.get_all(
            documents, retry=None, timeout=timeout_seconds
        ):
            if document.exists:
                snapshot = _snapshot(document)
                found[snapshot.ref] = snapshot
        return found

    def _document(self, ref: DocumentRef) -> Any:
        return self._client.collection(ref.collection).document(ref.document_id)


class FirestoreUnfinishedWork:
    """Implements the UnfinishedWork port. Make it inside the event loop that uses it.

    Both queries are served by the indexes that Firestore keeps of every single field
    (https://cloud.google.com/firestore/docs/query-data/index-overview): no composite index
    is needed.
    """

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def due_jobs(
        self, now: datetime, *, after: Snapshot | None, limit: int, timeout_seconds: float
    ) -> Sequence[Snapshot]:
        """One RunQuery call; see the port."""
        jobs = self._client.collection(JOBS)
        query = jobs.where(filter=FieldFilter("wakeAt", "<=", now)).order_by("wakeAt")
        query = query.order_by(_ID)
        if after is not None:
            last = jobs.document(after.ref.document_id)
            query = query.start_after({"wakeAt": after.data["wakeAt"], _ID: last})
        return await _run(query.limit(limit), timeout_seconds)

    async def running_runs(
        self, collection: str, *, after: str | None, limit: int, timeout_seconds: float
    ) -> Sequence[Snapshot]:
        """One RunQuery call; see the port."""
        runs = self._client.collection(collection)
        query = runs.where(filter=FieldFilter("status", "==", str(RunStatus.RUNNING)))
        query = query.order_by(_ID)
        if after is not None:
            query = query.start_after({_ID: runs.document(after)})
        return await _run(query.limit(limit), timeout_seconds)


async def _run(query: AsyncQuery, timeout_seconds: float) -> Sequence[Snapshot]:
    async def once() -> Sequence[Snapshot]:
        found = await query.get(retry=None, timeout=timeout_seconds)
        return [_snapshot(document) for document in found]

    return await _read(once, timeout_seconds)


async def _read(once: Callable[[], Awaitable[_T]], timeout_seconds: float) -> _T:
    """The answer to a read, which is safe to ask for again.

    Raises:
        StoreUnavailable: no answer within the timeout.
    """
    retry = retry_async.AsyncRetry(
        predicate=_TRANSIENT, initial=0.1, maximum=1.0, timeout=timeout_seconds
    )
    try:
        return await retry(once)()
    except (exceptions.GoogleAPICallError, exceptions.RetryError) as error:
        raise StoreUnavailable(_name(error)) from None


def _snapshot(document: Any) -> Snapshot:
    return Snapshot(
        ref=DocumentRef(document.reference.parent.id, document.id),
        version=_version(document.update_time),
        data=document.to_dict() or {},
    )


def _changes(changes: Mapping[tuple[str, ...], Any]) -> dict[str, Any]:
    return {
        FieldPath(*path).to_api_repr(): DELETE_FIELD if value is DELETE else value
        for path, value in changes.items()
    }


def _version(moment: DatetimeWithNanoseconds) -> Version:
    timestamp: Timestamp = moment.timestamp_pb()  # type: ignore[no-untyped-call]  # api_core's
    return Version(timestamp.ToNanoseconds())


def _timestamp(version: Version) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromNanoseconds(version)
    return timestamp


def _name(error: Exception) -> str:
    # The vendor's message may quote document contents; its status name never does.
    return type(error).__name__
