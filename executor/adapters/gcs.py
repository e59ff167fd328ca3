"""Cloud Storage behind the ObjectStore port: a blocking client on a bounded thread pool."""

import asyncio
import io
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import requests
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.cloud.storage import Client
from google.cloud.storage.retry import DEFAULT_RETRY
from requests.adapters import HTTPAdapter

from executor.ports import (
    ObjectExists,
    ObjectInfo,
    ObjectMissing,
    ObjectsUnavailable,
    ObjectTooLarge,
    StoredObject,
)
from shared.domain.artifacts import GcsUri

_T = TypeVar("_T")
#: Parallel requests of one instance; the client's own connection pool would hold 10.
MAX_PARALLEL = 32


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
        adapter = HTTPAdapter(pool_connections=MAX_PARALLEL, pool_maxsize=MAX_PARALLEL)
        client._http.mount("https://", adapter)  # noqa: SLF001 -- no public way to size it
        client._http.mount("http://", adapter)  # noqa: SLF001
        self._client = client
        self._threads = ThreadPoolExecutor(MAX_PARALLEL, thread_name_prefix="gcs")

    async def stat(self, uri: GcsUri, *, timeout_seconds: float) -> ObjectInfo | None:
        """One metadata request; see the port."""
        return await self._call(lambda: self._stat(uri, timeout_seconds), timeout_seconds)

    async def read(
        self, uri: GcsUri, *, max_bytes: int, timeout_seconds: float
    ) -> StoredObject:
        """One request, whose answer names the generation of its bytes; see the port."""
        return await self._call(
            lambda: self._read(uri, max_bytes, timeout_seconds), timeout_seconds
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
                blob.upload_from_string(
                    data,
                    content_type=content_type,
                    if_generation_match=0,
                    timeout=timeout_seconds,
                    retry=_retry(timeout_seconds),
                )
            except (exceptions.PreconditionFailed, exceptions.Forbidden):
                # An account that may create and not replace is refused an overwrite by IAM,
                # as 403: the caller looks what stands there.
                raise ObjectExists from None
            except exceptions.NotFound as error:
                raise ObjectsUnavailable(type(error).__name__) from None  # No such bucket.

        await self._call(create, timeout_seconds)

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

    async def _call(self, call: Callable[[], _T], timeout_seconds: float) -> _T:
        loop = asyncio.get_running_loop()
        try:
            # A thread cannot be interrupted: at the deadline it is left to its own end.
            async with asyncio.timeout(timeout_seconds):
                return await loop.run_in_executor(self._threads, call)
        except exceptions.NotFound:
            raise ObjectMissing from None
        except (
            TimeoutError,
            exceptions.GoogleAPICallError,
            exceptions.RetryError,
            requests.RequestException,
            GoogleAuthError,
        ) as error:
            raise ObjectsUnavailable(type(error).__name__) from None


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
