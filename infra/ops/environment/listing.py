"""What lies in an environment's collections, found without knowing its ids.

Firestore answers these questions from the indexes of single fields, but for two: runs of one
status, flow or symbol, the newest first, and overdue jobs need the composite indexes of
infra/terraform/modules/worker/indexes.tf
(https://cloud.google.com/firestore/docs/query-data/index-overview).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol, TypeAlias, assert_never

from google.cloud.firestore_v1.async_client import AsyncClient
from google.cloud.firestore_v1.async_query import AsyncQuery
from google.cloud.firestore_v1.base_query import BaseQuery, FieldFilter
from google.cloud.firestore_v1.types import StructuredQuery

from infra.local.embedded.documents import EmbeddedDocuments
from infra.ops.environment.stored_documents import at
from shared.adapters.firestore import FirestoreQueries, FirestoreUnfinishedWork
from shared.adapters.google_errors import asked
from shared.domain.documents import Snapshot
from shared.domain.job_documents import COLLECTION as JOBS
from shared.domain.job_documents import QUEUE, SHARD, SHARDS
from shared.domain.times import rfc3339
from shared.ports import StoreRefused, StoreUnavailable

CREATED, WAKE_AT = "createdAt", "wakeAt"
_ID = "__name__"
#: Behind every text, and behind every timestamp of a run.
_LAST_TEXT, _LAST_MOMENT = "\U0010ffff", datetime(9999, 1, 1, tzinfo=UTC)

#: A run's `createdAt` as it is stored: a text (RFC 3339) or a timestamp.
Created: TypeAlias = str | datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A place in the runs by age: that of the last run of a page."""

    created: Created
    document_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewestFirst:
    """The documents with these values, the last created first.

    Those without `createdAt` are not among them. `since` is included, `until` is not.
    """

    collection: str
    equal: Mapping[str, str] = field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None
    after: Position | None = None
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ById:
    """The documents with these values, in the order of their ids."""

    collection: str
    equal: Mapping[str, str | bool]
    #: Behind this id, whether or not there still is such a document.
    after: str | None = None
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Overdue:
    """The job records whose `wakeAt` is not after `moment`, the earliest first."""

    moment: datetime
    limit: int
    collection: str = JOBS


@dataclass(frozen=True, slots=True, kw_only=True)
class InQueue:
    """The job records whose `queue` is between the two texts, in the order of that field."""

    after: str
    before: str
    limit: int
    collection: str = JOBS


Question: TypeAlias = NewestFirst | ById | Overdue | InQueue


class IndexMissing(StoreUnavailable):
    """The database has no index for this question: apply the Terraform module again."""


class RunListing(Protocol):
    """Finds documents without knowing their ids."""

    async def find(self, question: Question, *, timeout_seconds: float) -> Sequence[Snapshot]:
        """What the question asks for, in its order, at most `limit`.

        Raises:
            IndexMissing: the database was set up without the index.
            StoreUnavailable: no answer within the timeout.
        """
        ...

    async def count(
        self, collection: str, equal: Mapping[str, str | bool], *, timeout_seconds: float
    ) -> int:
        """How many documents have these values.

        Raises:
            StoreUnavailable: no answer within the timeout.
        """
        ...

    async def count_waiting(self, *, after: str, before: str, timeout_seconds: float) -> int:
        """How many job records `InQueue` would find without a limit.

        Raises:
            StoreUnavailable: no answer within the timeout.
        """
        ...

    async def ids(
        self, collection: str, *, limit: int, timeout_seconds: float
    ) -> Sequence[str]:
        """The ids in a collection, in their order, at most so many.

        Raises:
            StoreUnavailable: no answer within the timeout.
        """
        ...


class FirestoreRunListing:
    """Implements RunListing on Firestore."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._firestore = FirestoreQueries(client)
        self._work = FirestoreUnfinishedWork(client)

    async def find(self, question: Question, *, timeout_seconds: float) -> Sequence[Snapshot]:
        """One RunQuery call, two where a time bounds the runs; see the port."""
        if isinstance(question, InQueue):
            return await self._work.waiting_jobs(
                after=question.after,
                before=question.before,
                limit=question.limit,
                timeout_seconds=timeout_seconds,
            )
        found: list[Snapshot] = []
        for query in self._queries(question):
            left = question.limit - len(found)
            if left > 0:
                found += await self._documents(query.limit(left), timeout_seconds)
        return found

    async def count(
        self, collection: str, equal: Mapping[str, str | bool], *, timeout_seconds: float
    ) -> int:
        """One RunAggregationQuery call, a read for each 1,000 index entries; see the port."""
        query = self._equal(collection, equal).count()
        try:
            answer = await asked(
                lambda: query.get(retry=None, timeout=timeout_seconds),
                timeout_seconds,
                unavailable=StoreUnavailable,
                refused=StoreRefused,
                again=True,
            )
        except StoreRefused as problem:
            raise _told(problem) from None
        return int(answer[0][0].value)

    async def count_waiting(self, *, after: str, before: str, timeout_seconds: float) -> int:
        """One RunAggregationQuery call; see the port."""
        return await self._work.count_waiting(
            after=after, before=before, timeout_seconds=timeout_seconds
        )

    async def ids(
        self, collection: str, *, limit: int, timeout_seconds: float
    ) -> Sequence[str]:
        """One RunQuery call, which returns no fields; see the port."""
        query = self._client.collection(collection).select([]).limit(limit)
        found = await self._documents(query, timeout_seconds)
        return [document.ref.document_id for document in found]

    async def _documents(self, query: AsyncQuery, timeout_seconds: float) -> Sequence[Snapshot]:
        # The library would decode the documents too, and fails where one refers to another
        # database.
        message = StructuredQuery.pb(query._to_protobuf())  # noqa: SLF001
        try:
            return await self._firestore.run(message, timeout_seconds=timeout_seconds)
        except StoreRefused as problem:
            raise _told(problem) from None

    def _queries(self, question: NewestFirst | ById | Overdue) -> Iterator[AsyncQuery]:
        match question:
            case ById():
                query = self._equal(question.collection, question.equal).order_by(_ID)
                if question.after is not None:
                    last = self._client.collection(question.collection).document(question.after)
                    query = query.start_after({_ID: last})
                yield query
            case Overdue():
                query = self._client.collection(question.collection)
                every = FieldFilter(SHARD, "in", list(range(SHARDS)))
                due = FieldFilter(WAKE_AT, "<=", question.moment)
                yield query.where(filter=every).where(filter=due).order_by(WAKE_AT)
            case NewestFirst():
                yield from self._by_age(question)

    def _by_age(self, question: NewestFirst) -> Iterator[AsyncQuery]:
        """A bound is of one type, so texts and timestamps are asked for apart."""
        bounded = question.since is not None or question.until is not None
        for kind in _kinds(question) if bounded else (None,):
            query = self._equal(question.collection, question.equal)
            if question.since is not None and kind:
                low = FieldFilter(CREATED, ">=", bound(question.since, kind))
                query = query.where(filter=low)
            if kind:
                high = FieldFilter(CREATED, "<", _high(question, kind))
                query = query.where(filter=high)
            query = query.order_by(CREATED, direction=BaseQuery.DESCENDING)
            query = query.order_by(_ID, direction=BaseQuery.DESCENDING)
            after = question.after
            if after is not None and (kind is None or isinstance(after.created, kind)):
                last = self._client.collection(question.collection).document(after.document_id)
                query = query.start_after({CREATED: after.created, _ID: last})
            yield query

    def _equal(self, collection: str, equal: Mapping[str, str | bool]) -> Any:
        query: Any = self._client.collection(collection)
        for name, value in equal.items():
            query = query.where(filter=FieldFilter(name, "==", value))
        return query


class EmbeddedRunListing:
    """Implements RunListing on the embedded documents; never waits."""

    def __init__(self, documents: EmbeddedDocuments) -> None:
        self._documents = documents

    async def find(self, question: Question, *, timeout_seconds: float) -> Sequence[Snapshot]:
        """See the port."""
        del timeout_seconds
        every = self._documents.snapshots(question.collection)
        found = _sorted(every, question)
        return found[: question.limit]

    async def count(
        self, collection: str, equal: Mapping[str, str | bool], *, timeout_seconds: float
    ) -> int:
        """See the port."""
        del timeout_seconds
        return sum(_has(one, equal) for one in self._documents.snapshots(collection))

    async def count_waiting(self, *, after: str, before: str, timeout_seconds: float) -> int:
        """See the port."""
        return await self._documents.count_waiting(
            after=after, before=before, timeout_seconds=timeout_seconds
        )

    async def ids(
        self, collection: str, *, limit: int, timeout_seconds: float
    ) -> Sequence[str]:
        """See the port."""
        del timeout_seconds
        found = (each.ref.document_id for each in self._documents.snapshots(collection))
        return sorted(found)[:limit]


def position_of(run: Snapshot) -> Position | None:
    """The run's place by age; None for one that is in no list by age."""
    created = run.data.get(CREATED)
    if not isinstance(created, str | datetime):
        return None
    return Position(created=created, document_id=run.ref.document_id)


def bound(moment: datetime, kind: type) -> Created:
    """The moment as a bound: as a text it comes before all spellings of its second."""
    return rfc3339(moment)[:19] if kind is str else moment


def _kinds(question: NewestFirst) -> Sequence[type]:
    """The types of `createdAt` still to come: Firestore sorts texts behind timestamps."""
    after = question.after
    return (datetime,) if after and isinstance(after.created, datetime) else (str, datetime)


def _high(question: NewestFirst, kind: type) -> Created:
    if question.until is not None:
        return bound(question.until, kind)
    return _LAST_TEXT if kind is str else _LAST_MOMENT


def _told(problem: StoreRefused) -> StoreUnavailable:
    """What an operator is told of a question that Firestore refuses."""
    if str(problem).startswith("FAILED_PRECONDITION"):
        return IndexMissing(
            "the database lacks an index for this question: apply the Terraform module again"
        )
    return StoreUnavailable(str(problem))


def _sorted(every: Sequence[Snapshot], question: Question) -> Sequence[Snapshot]:
    match question:
        case ById():
            behind = question.after or ""
            found = [one for one in every if _has(one, question.equal)]
            found = [one for one in found if one.ref.document_id > behind]
            return sorted(found, key=lambda one: one.ref.document_id)
        case Overdue():
            found = [one for one in every if _is_due(one, question)]
            return sorted(found, key=lambda one: (one.data[WAKE_AT], one.ref.document_id))
        case InQueue():
            found = [one for one in every if _is_queued(one, question)]
            return sorted(found, key=lambda one: one.data[QUEUE])
        case NewestFirst():
            found = [one for one in every if _is_asked_for(one, question)]
            return sorted(found, key=lambda one: key_of(position_of(one)), reverse=True)
        case _:
            assert_never(question)


def _has(one: Snapshot, equal: Mapping[str, str | bool]) -> bool:
    return all(at(one.data, *name.split(".")) == value for name, value in equal.items())


def _is_due(one: Snapshot, question: Overdue) -> bool:
    value = one.data.get(WAKE_AT)
    due = isinstance(value, datetime) and value <= question.moment
    return due and one.data.get(SHARD) in range(SHARDS)


def _is_queued(one: Snapshot, question: InQueue) -> bool:
    key = one.data.get(QUEUE)
    return isinstance(key, str) and question.after < key < question.before


def _is_asked_for(one: Snapshot, question: NewestFirst) -> bool:
    place = position_of(one)
    if place is None or not _has(one, question.equal):
        return False
    kind = str if isinstance(place.created, str) else datetime
    before = question.until is None or place.created < bound(question.until, kind)  # type: ignore[operator]
    behind = question.since is None or place.created >= bound(question.since, kind)  # type: ignore[operator]
    return (
        before and behind and (question.after is None or key_of(place) < key_of(question.after))
    )


def key_of(place: Position | None) -> tuple[bool, Any, str]:
    """What Firestore sorts the place by: a timestamp comes before any text."""
    if place is None:
        return False, datetime.min.replace(tzinfo=UTC), ""
    return isinstance(place.created, str), place.created, place.document_id
