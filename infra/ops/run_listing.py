"""What lies in an environment's collections, without knowing its ids."""

from collections.abc import Sequence
from typing import Protocol

from google.api_core import exceptions
from google.cloud.firestore_v1.async_client import AsyncClient
from google.cloud.firestore_v1.base_query import BaseQuery

from infra.local.embedded.documents import EmbeddedDocuments
from shared.domain.documents import Snapshot
from shared.ports import StoreUnavailable

_CREATED = "createdAt"


class RunListing(Protocol):
    """Finds runs without knowing their ids."""

    async def newest(
        self, collection: str, *, limit: int, timeout_seconds: float
    ) -> Sequence[str]:
        """The ids of the runs that were created last, the newest first.

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
    """Implements RunListing by the index that Firestore keeps of every single field."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def newest(
        self, collection: str, *, limit: int, timeout_seconds: float
    ) -> Sequence[str]:
        """One RunQuery call, which returns no fields but the time; see the port."""
        runs = self._client.collection(collection)
        query = runs.order_by(_CREATED, direction=BaseQuery.DESCENDING).limit(limit)
        try:
            found = await query.select([_CREATED]).get(timeout=timeout_seconds)
        except (exceptions.GoogleAPICallError, exceptions.RetryError) as error:
            raise StoreUnavailable(type(error).__name__) from None
        return [str(run.id) for run in found]

    async def ids(
        self, collection: str, *, limit: int, timeout_seconds: float
    ) -> Sequence[str]:
        """One RunQuery call, which returns no fields; see the port."""
        query = self._client.collection(collection).select([]).limit(limit)
        try:
            found = await query.get(timeout=timeout_seconds)
        except (exceptions.GoogleAPICallError, exceptions.RetryError) as error:
            raise StoreUnavailable(type(error).__name__) from None
        return [str(document.id) for document in found]


class EmbeddedRunListing:
    """Implements RunListing on the embedded documents."""

    def __init__(self, documents: EmbeddedDocuments) -> None:
        self._documents = documents

    async def newest(
        self, collection: str, *, limit: int, timeout_seconds: float
    ) -> Sequence[str]:
        """Never waits; see the port."""
        del timeout_seconds
        runs = self._documents.snapshots(collection)
        created = sorted((run for run in runs if _CREATED in run.data), key=_age, reverse=True)
        return [run.ref.document_id for run in created[:limit]]

    async def ids(
        self, collection: str, *, limit: int, timeout_seconds: float
    ) -> Sequence[str]:
        """Never waits; see the port."""
        del timeout_seconds
        found = (each.ref.document_id for each in self._documents.snapshots(collection))
        return sorted(found)[:limit]


def _age(run: Snapshot) -> tuple[str, str]:
    return str(run.data[_CREATED]), run.ref.document_id
