"""Where the smoke test puts things and removes them, with the operator's own rights."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

from google.api_core import exceptions
from google.cloud.firestore_v1.async_client import AsyncClient

from executor.contract.artifacts import GcsUri
from infra.failures import CannotBeDone
from infra.local.emulators.clients import firestore_client
from infra.local.scenario.model import SeedObject
from infra.local.state_file import EnvironmentState
from infra.local.storage.objects import ObjectFolder, ObjectNotFound
from infra.ops.environment.connection import Connection
from shared.domain.documents import DocumentRef

_CALL_SECONDS = 30.0


class SmokeRefused(CannotBeDone):
    """The environment does not let the smoke test work; the message says what to do."""


class Place(Protocol):
    """Objects that an operator can put there and remove."""

    async def put(self, item: SeedObject) -> None:
        """Store an input."""
        ...

    async def remove(self, uri: GcsUri) -> None:
        """Remove an object, if it is there.

        Raises:
            SmokeRefused: it may not be removed.
        """
        ...


class _Folder:
    """The local environment's objects."""

    def __init__(self, folder: ObjectFolder) -> None:
        self._folder = folder

    async def put(self, item: SeedObject) -> None:
        self._folder.write(item.bucket, item.name, item.data, content_type=item.content_type)

    async def remove(self, uri: GcsUri) -> None:
        try:
            self._folder.delete(uri.bucket, uri.name)
        except ObjectNotFound:
            return


class _Bucket:
    """Cloud Storage, with the operator's own rights."""

    def __init__(self, project: str) -> None:
        # Late, as it takes a quarter of a second to load.
        from google.cloud.storage import Client  # noqa: PLC0415

        self._client = Client(project=project)

    async def put(self, item: SeedObject) -> None:
        blob = self._client.bucket(item.bucket).blob(item.name)
        try:
            await asyncio.to_thread(
                blob.upload_from_string,
                item.data,
                content_type=item.content_type,
                timeout=_CALL_SECONDS,
            )
        except exceptions.GoogleAPICallError as error:
            raise SmokeRefused(
                f"{item.uri} cannot be written: {type(error).__name__}; "
                "run this with roles/storage.objectUser on the bucket"
            ) from None

    async def remove(self, uri: GcsUri) -> None:
        blob = self._client.bucket(uri.bucket).blob(uri.name)
        try:
            await asyncio.to_thread(blob.delete, timeout=_CALL_SECONDS)
        except exceptions.NotFound:
            return
        except exceptions.GoogleAPICallError as error:
            raise SmokeRefused(
                f"gs://{uri.bucket}/{uri.name} stays: {type(error).__name__}; a retention "
                "policy or a hold forbids it, or run this with roles/storage.objectUser on "
                "the bucket"
            ) from None


async def remove_documents(connection: Connection, refs: Sequence[DocumentRef]) -> None:
    """Delete documents, which the worker's own adapter cannot.

    Raises:
        SmokeRefused: Firestore refused.
    """
    async with _client(connection) as client:
        for ref in refs:
            document = client.collection(ref.collection).document(ref.document_id)
            try:
                await document.delete(timeout=_CALL_SECONDS)
            except exceptions.GoogleAPICallError as error:
                raise SmokeRefused(
                    f"{ref.collection}/{ref.document_id} stays: {type(error).__name__}; "
                    "delete it, or run this with roles/datastore.user"
                ) from None


@asynccontextmanager
async def _client(connection: Connection) -> AsyncIterator[AsyncClient]:
    local = connection.local
    if local is not None:
        client = firestore_client(str(local.firestore_host), local.project)
    else:
        client = AsyncClient(project=connection.project, database=connection.database)
    try:
        yield client
    finally:
        client.close()  # type: ignore[no-untyped-call]


def place_of(connection: Connection) -> Place:
    """The place of the environment's objects."""
    local: EnvironmentState | None = connection.local
    return _Folder(ObjectFolder(local.object_folder)) if local else _Bucket(connection.project)
