"""Firestore behind the ports of the documents.

The client's own retries are off for commits: when a first try was applied and its answer
lost, a hidden second try fails its precondition and looks like a loss. The callers read
back instead. Reads are safe to repeat and are retried here, within their timeout.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from google.api_core import exceptions, retry_async
from google.cloud.firestore_v1.async_client import AsyncClient
from google.cloud.firestore_v1.async_query import AsyncQuery
from google.cloud.firestore_v1.base_query import FieldFilter
from google.cloud.firestore_v1.services.firestore import FirestoreAsyncClient
from google.cloud.firestore_v1.types import (
    BatchGetDocumentsRequest,
    CommitRequest,
    CommitResponse,
)

from shared.adapters.firestore_values import found_snapshot, write_message
from shared.domain.documents import DocumentRef, Snapshot, Version, Write
from shared.domain.flow_run import RunStatus
from shared.domain.job_documents import COLLECTION as JOBS
from shared.ports import Conflict, StoreUnavailable

_T = TypeVar("_T")
_ID = "__name__"
_CommitRequest = CommitRequest.pb()
_BatchGetDocumentsRequest = BatchGetDocumentsRequest.pb()
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
        # Public are only layers that cost more than the calls beneath them.
        self._database = client._database_string  # noqa: SLF001
        self._metadata = client._rpc_metadata  # noqa: SLF001

    async def read(
        self, refs: Sequence[DocumentRef], *, timeout_seconds: float
    ) -> Sequence[Snapshot | None]:
        """One BatchGetDocuments call; see the port."""
        found = await _read(lambda: self._read_once(refs, timeout_seconds), timeout_seconds)
        return [found.get(ref) for ref in refs]

    async def commit(self, writes: Sequence[Write], *, timeout_seconds: float) -> Version:
        """One Commit call; see the port."""
        messages = [write_message(write, self._path(write.ref)) for write in writes]
        request = _CommitRequest(database=self._database, writes=messages)
        try:
            response = await self._api.commit(
                CommitRequest.wrap(request),
                retry=None,
                timeout=timeout_seconds,
                metadata=self._metadata,
            )
        except _CONFLICTS as error:
            raise Conflict(_name(error)) from None
        except (exceptions.GoogleAPICallError, exceptions.RetryError) as error:
            raise StoreUnavailable(_name(error)) from None
        results = CommitResponse.pb(response).write_results
        return Version(max(result.update_time.ToNanoseconds() for result in results))

    async def _read_once(
        self, refs: Sequence[DocumentRef], timeout_seconds: float
    ) -> dict[DocumentRef, Snapshot]:
        names = [self._path(ref) for ref in dict.fromkeys(refs)]
        request = _BatchGetDocumentsRequest(database=self._database, documents=names)
        responses = await self._api.batch_get_documents(
            BatchGetDocumentsRequest.wrap(request),
            retry=None,
            timeout=timeout_seconds,
            metadata=self._metadata,
        )
        snapshots = [found_snapshot(response) async for response in responses]
        return {snapshot.ref: snapshot for snapshot in snapshots if snapshot is not None}

    @property
    def _api(self) -> FirestoreAsyncClient:
        # Made at the first use, with the channel's settings and the emulator's address.
        api: FirestoreAsyncClient = self._client._firestore_api  # noqa: SLF001
        return api

    def _path(self, ref: DocumentRef) -> str:
        return f"{self._database}/documents/{ref.collection}/{ref.document_id}"


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
        version=Version(document.update_time.timestamp_pb().ToNanoseconds()),
        data=document.to_dict() or {},
    )


def _name(error: Exception) -> str:
    # The vendor's message may quote document contents; its status name never does.
    return type(error).__name__
