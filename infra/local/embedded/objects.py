"""The executor's object store on a folder of files."""

import asyncio
from collections.abc import Callable, Mapping
from typing import TypeVar

from executor.contract.artifacts import GcsUri
from executor.ports import (
    ObjectExists,
    ObjectInfo,
    ObjectMissing,
    ObjectsUnavailable,
    ObjectTooLarge,
    StoredObject,
)
from infra.local.storage.objects import (
    BucketNotFound,
    ObjectFolder,
    ObjectFolderError,
    ObjectNotFound,
    PreconditionFailed,
)

_T = TypeVar("_T")


class EmbeddedObjects:
    """Implements the ObjectStore port."""

    def __init__(self, folder: ObjectFolder) -> None:
        self._folder = folder

    async def stat(self, uri: GcsUri, *, timeout_seconds: float) -> ObjectInfo | None:
        """See the port."""
        return await _bounded(lambda: self._stat(uri), timeout_seconds)

    async def read(
        self, uri: GcsUri, *, max_bytes: int, timeout_seconds: float
    ) -> StoredObject:
        """See the port."""
        return await _bounded(lambda: self._read(uri, max_bytes), timeout_seconds)

    async def create(
        self,
        uri: GcsUri,
        data: bytes,
        *,
        content_type: str,
        metadata: Mapping[str, str],
        timeout_seconds: float,
    ) -> None:
        """See the port."""

        def create() -> None:
            try:
                self._folder.write(
                    uri.bucket,
                    uri.name,
                    data,
                    content_type=content_type,
                    metadata=metadata,
                    if_generation_match=0,
                )
            except BucketNotFound:
                # Nothing that a writer could be told apart: see the port.
                raise ObjectsUnavailable("BucketNotFound") from None

        await _bounded(create, timeout_seconds)

    async def prove_writable(self, uri: GcsUri, *, timeout_seconds: float) -> None:
        """See the port: every bucket that there is may be written."""
        if not await _bounded(lambda: self._folder.has_bucket(uri.bucket), timeout_seconds):
            raise ObjectsUnavailable("BucketNotFound")

    def _stat(self, uri: GcsUri) -> ObjectInfo | None:
        record = self._folder.stat(uri.bucket, uri.name)
        if record is None:
            return None
        return ObjectInfo(
            size_bytes=record.size, generation=record.generation, metadata=record.metadata
        )

    def _read(self, uri: GcsUri, max_bytes: int) -> StoredObject:
        present = self._folder.stat(uri.bucket, uri.name)
        if present is None:
            raise ObjectMissing(str(uri))
        if present.size > max_bytes:
            raise ObjectTooLarge(present.size)
        try:
            record, data = self._folder.read(uri.bucket, uri.name, present.generation)
        except ObjectNotFound:
            raise ObjectsUnavailable("replaced while it was read") from None
        return StoredObject(data=data, generation=record.generation)


async def _bounded(work: Callable[[], _T], timeout_seconds: float) -> _T:
    """Do the work in a thread; its errors come out as the port's."""
    try:
        async with asyncio.timeout(timeout_seconds):
            return await asyncio.to_thread(work)
    except PreconditionFailed as error:
        raise ObjectExists(str(error)) from None
    except (ObjectNotFound, BucketNotFound) as error:
        raise ObjectMissing(str(error)) from None
    except (TimeoutError, OSError, ObjectFolderError) as error:
        raise ObjectsUnavailable(type(error).__name__) from None
