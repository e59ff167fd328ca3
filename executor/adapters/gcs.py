"""Cloud Storage behind the ObjectStore port: a blocking client on bounded thread pools."""

import asyncio
import io
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client
from google.cloud.storage.retry import DEFAULT_RETRY

from executor.adapters.abortable_http import AbortableAdapter, AbortableCall
from executor.adapters.bounded_http import bounded
from executor.adapters.storage_errors import failure_of, status_of
from executor.contract.artifacts import GcsUri
from executor.ports import (
    ObjectExists,
    ObjectInfo,
    ObjectMissing,
    ObjectsRefused,
    ObjectsUnavailable,
    ObjectTooLarge,
    StoredObject,
)
from shared.ports import PortFailure

_T = TypeVar("_T")
#: Parallel requests of one instance; the client's own connection pool would hold 10.
MAX_PARALLEL_READS = 32
#: Apart from the reads: however slow these are, a report that was paid for is stored.
MAX_PARALLEL_UPLOADS = 8
#: A generation that no object has: generations are times in microseconds
#: (https://cloud.google.com/storage/docs/metadata#generation-number).
_NO_GENERATION = 1


# The client otherwise starts a thread that asks for the bucket's own metadata.
os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")


def storage_client(project: str) -> Client:
    """The official client; a server that STORAGE_EMULATOR_HOST names gets no credentials."""
    if not os.environ.get("STORAGE_EMULATOR_HOST"):
        return Client(project=project)
    anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
    return Client(project=project, credentials=anonymous)


class GcsObjects:
    """Implements the ObjectStore port."""

    def __init__(self, client: Client) -> None:
        parallel = MAX_PARALLEL_READS + MAX_PARALLEL_UPLOADS
        adapter = AbortableAdapter(pool_connections=parallel, pool_maxsize=parallel)
        bounded(client._http, adapter)  # noqa: SLF001 -- no public way to set it
        self._client = client
        self._reads = ThreadPoolExecutor(MAX_PARALLEL_READS, thread_name_prefix="gcs")
        self._uploads = ThreadPoolExecutor(MAX_PARALLEL_UPLOADS, thread_name_prefix="gcs-up")

    async def stat(self, uri: GcsUri, *, timeout_seconds: float) -> ObjectInfo | None:
        """One metadata request; see the port."""
        return await _call(
            self._reads, lambda: self._stat(uri, timeout_seconds), timeout_seconds
        )

    async def read(
        self, uri: GcsUri, *, max_bytes: int, timeout_seconds: float
    ) -> StoredObject:
        """One request, whose answer names the generation of its bytes; see the port."""
        return await _call(
            self._reads, lambda: self._read(uri, max_bytes, timeout_seconds), timeout_seconds
        )

    async def create(
        self,
        uri: GcsUri,
        data: bytes,
        *,
        content_type: str,
        metadata: Mapping[str, str],
        timeout_seconds: float,
    ) -> None:
        """One multipart upload with `ifGenerationMatch=0`; see the port."""

        def create() -> None:
            blob = self._client.bucket(uri.bucket).blob(uri.name)
            blob.metadata = dict(metadata)
            try:
                _upload(blob, data, content_type, 0, timeout_seconds)
            except exceptions.PreconditionFailed:
                raise ObjectExists from None
            except exceptions.Forbidden as error:
                # An account that may create and not replace is refused an overwrite by IAM.
                if self._stands(uri, timeout_seconds):
                    raise ObjectExists from None
                raise ObjectsRefused(status_of(error)) from None

        await _call(self._uploads, create, timeout_seconds, missing=_no_bucket)

    async def prove_writable(self, uri: GcsUri, *, timeout_seconds: float) -> None:
        """One upload of nothing, whose precondition cannot hold; see the port."""

        def attempt() -> None:
            blob = self._client.bucket(uri.bucket).blob(uri.name)
            try:
                _upload(blob, b"", "application/json", _NO_GENERATION, timeout_seconds)
            except exceptions.PreconditionFailed:
                return  # We would have been let in.
            except exceptions.Forbidden as error:
                if not self._stands(uri, timeout_seconds):
                    raise ObjectsRefused(status_of(error)) from None

        await _call(self._uploads, attempt, timeout_seconds, missing=_no_bucket)

    def _stands(self, uri: GcsUri, timeout_seconds: float) -> bool:
        """Whether an object is seen there; an account that may not look sees none."""
        try:
            return self._stat(uri, timeout_seconds) is not None
        except (exceptions.Forbidden, exceptions.Unauthorized):
            return False

    def _stat(self, uri: GcsUri, timeout_seconds: float) -> ObjectInfo | None:
        blob = self._client.bucket(uri.bucket).get_blob(
            uri.name, timeout=timeout_seconds, retry=_retry(timeout_seconds)
        )
        if blob is None:
            return None
        return ObjectInfo(
            size_bytes=blob.size, generation=blob.generation, metadata=blob.metadata or {}
        )

    def _read(self, uri: GcsUri, max_bytes: int, timeout_seconds: float) -> StoredObject:
        blob = self._client.bucket(uri.bucket).blob(uri.name)
        try:
            data = _download(blob, max_bytes, timeout_seconds)
        except ObjectTooLarge as broken_off:
            info = self._stat(uri, timeout_seconds)
            size = info.size_bytes if info else 0
            # What is stored compressed arrives inflated: the larger of both says why.
            raise ObjectTooLarge(max(size, broken_off.size_bytes)) from None
        if blob.generation is None:
            return self._read_pinned(uri, max_bytes, timeout_seconds)
        # From the headers of the very answer that brought the bytes: they belong together.
        return StoredObject(data=data, generation=int(blob.generation))

    def _read_pinned(self, uri: GcsUri, max_bytes: int, timeout: float) -> StoredObject:
        """For servers other than Google's, whose answers do not name the generation."""
        info = self._stat(uri, timeout)
        if info is None:
            raise ObjectMissing
        blob = self._client.bucket(uri.bucket).blob(uri.name, generation=info.generation)
        try:
            data = _download(blob, max_bytes, timeout)
        except exceptions.NotFound:
            # It was there a moment ago: another attempt finds what replaced it.
            raise ObjectsUnavailable("replaced while it was read") from None
        return StoredObject(data=data, generation=info.generation)


def _no_bucket() -> PortFailure:
    return ObjectsUnavailable("404 Not Found: there is no such bucket")


async def _call(
    threads: ThreadPoolExecutor,
    work: Callable[[], _T],
    timeout_seconds: float,
    *,
    missing: Callable[[], Exception] = ObjectMissing,
) -> _T:
    """Do the work in a thread; no library's exception passes.

    Args:
        threads: where it is done.
        work: makes the requests.
        timeout_seconds: for all of it, the wait for a thread included.
        missing: what is raised where the server finds nothing.
    """
    call = AbortableCall()
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_seconds):
            return await loop.run_in_executor(threads, call.run, work)
    except (PortFailure, ObjectExists, ObjectMissing, ObjectTooLarge):
        raise
    except exceptions.NotFound:
        raise missing() from None
    except Exception as error:  # noqa: BLE001 -- no library's exception passes a port
        raise failure_of(error) from None
    finally:
        # Nobody waits any more: a thread that still works on it is free at once.
        call.abort()


def _upload(
    blob: Any, data: bytes, content_type: str, generation: int, timeout_seconds: float
) -> None:
    blob.upload_from_string(
        data,
        content_type=content_type,
        if_generation_match=generation,
        timeout=timeout_seconds,
        retry=_retry(timeout_seconds),
    )


def _download(blob: Any, max_bytes: int, timeout_seconds: float) -> bytes:
    sink = _BoundedBytes(max_bytes)
    blob.download_to_file(sink, timeout=timeout_seconds, retry=_retry(timeout_seconds))
    return sink.getvalue()


class _BoundedBytes(io.BytesIO):
    """Takes up to so many bytes, and breaks off the download of more."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__()
        self._max_bytes = max_bytes

    def write(self, data: Any, /) -> int:
        size = self.tell() + len(data)
        if size > self._max_bytes:
            raise ObjectTooLarge(size)
        return super().write(data)


def _retry(timeout_seconds: float) -> Any:
    return DEFAULT_RETRY.with_timeout(timeout_seconds)
