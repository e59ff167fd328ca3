"""Firestore behind the ports of the documents.

The client's own retries are off for commits: when a first try was applied and its answer
lost, a hidden second try fails its precondition and looks like a loss. The callers read
back instead. Reads are safe to repeat and are retried here, within their timeout.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from google.api_core import exceptions
from google.cloud.firestore_v1.async_client import AsyncClient
from google.cloud.firestore_v1.services.firestore import FirestoreAsyncClient
from google.cloud.firestore_v1.types import (
    BatchGetDocumentsRequest,
    BatchGetDocumentsResponse,
    CommitRequest,
    CommitResponse,
    RunAggregationQueryRequest,
    RunAggregationQueryResponse,
    RunQueryRequest,
    RunQueryResponse,
    StructuredAggregationQuery,
    StructuredQuery,
)

from shared.adapters.firestore_values import (
    document_snapshot,
    found_snapshot,
    plain_fields,
    value_message,
    write_message,
)
from shared.adapters.google_errors import asked, status_of
from shared.computing import computed
from shared.domain.documents import DocumentRef, Snapshot, Version, Write
from shared.domain.flow_run import RunStatus
from shared.domain.job_documents import COLLECTION as JOBS
from shared.domain.job_documents import QUEUE, SHARD, SHARDS
from shared.domain.run_fields import deciding_fields
from shared.ports import Conflict, StoreRefused, StoreUnavailable

_T = TypeVar("_T")
_ID = "__name__"
_CommitRequest = CommitRequest.pb()
_BatchGetDocumentsRequest = BatchGetDocumentsRequest.pb()
_RunQueryRequest = RunQueryRequest.pb()
_RunAggregationQueryRequest = RunAggregationQueryRequest.pb()
_Filter = StructuredQuery.FieldFilter.Operator
_COUNT = "count"
#: Nobody waits for the exact number of more.
MOST_COUNTED = 100_000
#: The service answered, and nothing was written.
_CONFLICTS = (
    exceptions.FailedPrecondition,
    exceptions.AlreadyExists,
    exceptions.NotFound,
    exceptions.Aborted,
)


class _Database:
    """One database, as the calls name it. Make it inside the event loop that uses it."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        # Public are only layers that cost more than the calls beneath them.
        self.name = client._database_string  # noqa: SLF001
        self.metadata = client._rpc_metadata  # noqa: SLF001

    @property
    def api(self) -> FirestoreAsyncClient:
        """Made at the first use, with the channel's settings and the emulator's address."""
        api: FirestoreAsyncClient = self._client._firestore_api  # noqa: SLF001
        return api

    def path(self, ref: DocumentRef) -> str:
        """The document's full resource name."""
        return f"{self.name}/documents/{ref.collection}/{ref.document_id}"


class FirestoreDocuments:
    """Implements the DocumentStore port. Make it inside the event loop that uses it."""

    def __init__(self, client: AsyncClient) -> None:
        self._database = _Database(client)

    async def read(
        self, refs: Sequence[DocumentRef], *, timeout_seconds: float
    ) -> Sequence[Snapshot | None]:
        """One BatchGetDocuments call; see the port."""
        found = await _read(lambda: self._read_once(refs, timeout_seconds), timeout_seconds)
        return [found.get(ref) for ref in refs]

    async def commit(self, writes: Sequence[Write], *, timeout_seconds: float) -> Version:
        """One Commit call; see the port."""
        database = self._database
        request = _commit_request(database, writes)

        async def commit() -> Version:
            try:
                response = await database.api.commit(
                    CommitRequest.wrap(request),
                    retry=None,
                    timeout=timeout_seconds,
                    metadata=database.metadata,
                )
            except _CONFLICTS as error:
                raise Conflict(status_of(error)) from None
            results = CommitResponse.pb(response).write_results
            return Version(max(result.update_time.ToNanoseconds() for result in results))

        return await asked(
            commit, timeout_seconds, unavailable=StoreUnavailable, refused=StoreRefused
        )

    async def _read_once(
        self, refs: Sequence[DocumentRef], timeout_seconds: float
    ) -> dict[DocumentRef, Snapshot]:
        database = self._database
        names = [database.path(ref) for ref in dict.fromkeys(refs)]
        request = _BatchGetDocumentsRequest(database=database.name, documents=names)
        responses = await database.api.batch_get_documents(
            BatchGetDocumentsRequest.wrap(request),
            retry=None,
            timeout=timeout_seconds,
            metadata=database.metadata,
        )
        snapshots = [await _found(response) async for response in responses]
        return {snapshot.ref: snapshot for snapshot in snapshots if snapshot is not None}


def _commit_request(database: _Database, writes: Sequence[Write]) -> Any:
    """The request.

    Raises:
        StoreRefused: a value has a form that no document can hold.
    """
    try:
        messages = [write_message(write, database.path(write.ref)) for write in writes]
    except (TypeError, ValueError, OverflowError) as error:
        text = f"INVALID_ARGUMENT: a value that no document can hold ({type(error).__name__})"
        raise StoreRefused(text, unfit=True) from None
    return _CommitRequest(database=database.name, writes=messages)


class FirestoreUnfinishedWork:
    """Implements the UnfinishedWork port. Make it inside the event loop that uses it.

    Due jobs have a composite index; the other queries are served by the indexes that
    Firestore keeps of single fields
    (https://cloud.google.com/firestore/docs/query-data/index-overview).
    """

    def __init__(self, client: AsyncClient) -> None:
        self._database = _Database(client)
        self._queries = FirestoreQueries(client)

    async def due_jobs(
        self,
        now: datetime,
        *,
        after: Snapshot | None,
        limit: int,
        timeout_seconds: float,
        heads: bool = False,
    ) -> Sequence[Snapshot]:
        """One RunQuery call; see the port."""
        query = _query(JOBS, ["wakeAt", _ID], limit)
        conditions = query.where.composite_filter
        conditions.op = StructuredQuery.CompositeFilter.Operator.AND
        every = conditions.filters.add().field_filter
        _condition(every, SHARD, _Filter.IN, list(range(SHARDS)))
        due = conditions.filters.add().field_filter
        _condition(due, "wakeAt", _Filter.LESS_THAN_OR_EQUAL, now)
        if after is not None:
            ref = DocumentRef(JOBS, after.ref.document_id)
            _start_after(query, after.data["wakeAt"], self._database.path(ref))
        if heads:
            query.select.fields.add(field_path="wakeAt")
        return await self._queries.run(query, timeout_seconds=timeout_seconds)

    async def waiting_jobs(
        self, *, after: str, before: str, limit: int, timeout_seconds: float
    ) -> Sequence[Snapshot]:
        """One RunQuery call; see the port."""
        query = _waiting(after, before, limit)
        return await self._queries.run(query, timeout_seconds=timeout_seconds)

    async def count_waiting(self, *, after: str, before: str, timeout_seconds: float) -> int:
        """One RunAggregationQuery call; see the port."""
        database = self._database
        query = StructuredAggregationQuery.pb()(
            structured_query=_waiting(after, before, MOST_COUNTED)
        )
        query.aggregations.add(alias=_COUNT).count.SetInParent()
        request = _RunAggregationQueryRequest(
            parent=f"{database.name}/documents", structured_aggregation_query=query
        )

        async def count() -> int:
            responses = await database.api.run_aggregation_query(
                RunAggregationQueryRequest.wrap(request),
                retry=None,
                timeout=timeout_seconds,
                metadata=database.metadata,
            )
            results = [
                RunAggregationQueryResponse.pb(response).result async for response in responses
            ]
            return sum(result.aggregate_fields[_COUNT].integer_value for result in results)

        return await _read(count, timeout_seconds)

    async def running_runs(
        self,
        collection: str,
        *,
        after: str | None,
        limit: int,
        timeout_seconds: float,
        heads: bool = False,
    ) -> Sequence[Snapshot]:
        """One RunQuery call; see the port."""
        running = str(RunStatus.RUNNING)
        query = _query(collection, [_ID], limit)
        _condition(query.where.field_filter, "status", _Filter.EQUAL, running)
        if after is not None:
            _start_after(query, self._database.path(DocumentRef(collection, after)))
        if heads:
            query.select.fields.add(field_path=_ID)
        return await self._queries.run(
            query, timeout_seconds=timeout_seconds, decode=deciding_fields
        )


class FirestoreQueries:
    """Runs queries. Make it inside the event loop that uses it."""

    def __init__(self, client: AsyncClient) -> None:
        self._database = _Database(client)

    async def run(
        self,
        query: Any,
        *,
        timeout_seconds: float,
        decode: Callable[[Any], Mapping[str, Any]] = plain_fields,
    ) -> Sequence[Snapshot]:
        """One RunQuery call for a google.firestore.v1.StructuredQuery.

        Args:
            query: the query, as a plain protobuf message.
            timeout_seconds: for all of it, further tries included.
            decode: makes a document's data of its fields.

        Raises:
            StoreUnavailable: no answer within the timeout.
            StoreRefused: Firestore refuses, as without an index.
        """
        database = self._database
        request = _RunQueryRequest(parent=f"{database.name}/documents", structured_query=query)

        async def run() -> Sequence[Snapshot]:
            responses = await database.api.run_query(
                RunQueryRequest.wrap(request),
                retry=None,
                timeout=timeout_seconds,
                metadata=database.metadata,
            )
            # One by one as they come: twenty documents of a mebibyte each are much as messages.
            return [
                await _decoded(message.document, partial(document_snapshot, decode=decode))
                async for message in _messages(responses)
                if message.HasField("document")
            ]

        return await _read(run, timeout_seconds)


async def _found(response: BatchGetDocumentsResponse) -> Snapshot | None:
    document = BatchGetDocumentsResponse.pb(response).found
    return await _decoded(document, lambda _: found_snapshot(response))


async def _decoded(document: Any, decode: Callable[[Any], _T]) -> _T:
    """What is made of the document, a mebibyte of which may take over a second."""
    return await computed(lambda: decode(document), size_bytes=document.ByteSize())


async def _messages(responses: Any) -> AsyncIterator[Any]:
    async for response in responses:
        yield RunQueryResponse.pb(response)


def _query(collection: str, order: Sequence[str], limit: int) -> Any:
    """The google.firestore.v1.StructuredQuery for the first so many of the collection."""
    query = StructuredQuery.pb()()
    query.from_.add(collection_id=collection)
    for name in order:
        query.order_by.add(
            direction=StructuredQuery.Direction.ASCENDING
        ).field.field_path = name
    query.limit.value = limit
    return query


def _condition(condition: Any, field: str, operator: Any, value: Any) -> None:
    condition.field.field_path = field
    condition.op = operator
    condition.value.CopyFrom(value_message(value))


def _waiting(after: str, before: str, limit: int) -> Any:
    query = _query(JOBS, [QUEUE], limit)
    _condition(query.where.field_filter, QUEUE, _Filter.GREATER_THAN, after)
    query.end_at.values.append(value_message(before))
    query.end_at.before = True
    return query


def _start_after(query: Any, *values: Any) -> None:
    """Begin behind the document with these values in the query's order, its name the last."""
    *others, name = values
    for value in others:
        query.start_at.values.append(value_message(value))
    query.start_at.values.add().reference_value = name
    query.start_at.before = False


async def _read(once: Callable[[], Awaitable[_T]], timeout_seconds: float) -> _T:
    """The answer to a read, which is safe to ask for again.

    Raises:
        StoreUnavailable: no answer within the timeout.
        StoreRefused: the service refuses for good.
    """
    return await asked(
        once, timeout_seconds, unavailable=StoreUnavailable, refused=StoreRefused, again=True
    )
