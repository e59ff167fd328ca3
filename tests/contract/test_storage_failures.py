"""Whatever Cloud Storage answers or fails to answer becomes an outcome of the port, in time."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from http import HTTPStatus

import pytest
import requests
import urllib3
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client
from google.resumable_media import common

from executor.adapters.bounded_http import MAX_SMALL_BODY_BYTES
from executor.adapters.gcs import MAX_PARALLEL_READS, GcsObjects
from executor.adapters.storage_errors import OUTCOMES, failure_of
from executor.contract.artifacts import GcsUri
from executor.ports import ObjectExists, ObjectMissing, ObjectsRefused, ObjectsUnavailable
from shared.ports import PortFailure
from tests.support.failing_http import (
    Answering,
    always,
    answer,
    drip_body,
    drip_headers,
    garbage,
    half,
    hang,
    request,
    serving,
)
from tests.support.machine_time import GRACE, stopwatch

URI = GcsUri("reports", "run/1d/step.json")
SECONDS = 0.6


def family(ancestor: type[BaseException]) -> Iterator[type[BaseException]]:
    yield ancestor
    for child in ancestor.__subclasses__():
        yield from family(child)


@pytest.mark.parametrize(
    "kind",
    [
        *family(requests.RequestException),
        *family(urllib3.exceptions.HTTPError),
        *family(common.DataCorruption),
        *family(common.InvalidResponse),
    ],
)
def test_every_exception_beneath_the_client_is_an_outcome(kind: type[BaseException]) -> None:
    error = kind.__new__(kind)

    assert any(known in OUTCOMES for known in kind.__mro__)
    assert isinstance(failure_of(error), ObjectsRefused | ObjectsUnavailable)


class Nobody(AnonymousCredentials):
    """Sends no token, and has no other token to try."""

    def refresh(self, request: object) -> None:
        del request


@asynccontextmanager
async def answering(how: Answering) -> AsyncIterator[GcsObjects]:
    """A store whose server answers every request in this way."""
    async with serving(how) as url:
        client = Client(
            project="p",
            credentials=Nobody(),  # type: ignore[no-untyped-call]
            client_options={"api_endpoint": url},
        )
        try:
            yield GcsObjects(client)
        finally:
            client.close()


async def wrong_checksum(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await request(reader)
        digest = base64.b64encode(hashlib.md5(b"another", usedforsecurity=False).digest())
        writer.write(answer(200, b"whole", f"X-Goog-Hash: md5={digest.decode()}"))


async def broken_gzip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        await request(reader)
        writer.write(answer(200, b"\x1f\x8b\x08 cut", "Content-Encoding: gzip"))


FAULTS = {
    "hang": hang,
    "drip in the headers": drip_headers,
    "drip in the body": drip_body,
    "half": half,
    "garbage": garbage,
    **{str(status): always(status) for status in (408, 429, 500, 502, 503, 504)},
}


async def stat(store: GcsObjects, seconds: float = SECONDS) -> object:
    return await store.stat(URI, timeout_seconds=seconds)


async def read(store: GcsObjects, seconds: float = SECONDS) -> object:
    return await store.read(URI, max_bytes=65_536, timeout_seconds=seconds)


async def create(store: GcsObjects, seconds: float = SECONDS) -> object:
    await store.create(
        URI, b"{}", content_type="application/json", metadata={}, timeout_seconds=seconds
    )
    return None


async def prove(store: GcsObjects, seconds: float = SECONDS) -> object:
    await store.prove_writable(URI, timeout_seconds=seconds)
    return None


Operation = Callable[..., Awaitable[object]]
OPERATIONS = [stat, read, create, prove]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("fault", FAULTS)
async def test_what_may_pass_is_unavailable_and_over_in_time(
    fault: str, operation: Operation
) -> None:
    async with answering(FAULTS[fault]) as store, stopwatch() as watch:
        with pytest.raises(ObjectsUnavailable):
            await operation(store)

        assert watch.seconds < SECONDS + GRACE


@pytest.mark.parametrize("fault", [wrong_checksum, broken_gzip])
async def test_bytes_that_are_not_those_that_were_stored_are_no_answer(
    fault: Answering,
) -> None:
    async with answering(fault) as store:
        with pytest.raises(ObjectsUnavailable):
            await read(store)


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("status", [400, 401, 403])
async def test_what_is_refused_for_good_says_the_status_and_what_to_look_at(
    status: int, operation: Operation
) -> None:
    async with answering(always(status)) as store:
        with pytest.raises(ObjectsRefused) as refused:
            await operation(store, 5.0)

    assert str(refused.value).startswith(f"{status} {HTTPStatus(status).phrase}: look at ")


async def test_a_missing_object_is_none_and_a_missing_bucket_may_be_made_yet() -> None:
    async with answering(always(404)) as store:
        assert await stat(store) is None
        with pytest.raises(ObjectMissing):
            await read(store)
        for operation in (create, prove):
            with pytest.raises(ObjectsUnavailable, match="404 Not Found: there is no such"):
                await operation(store)


async def test_an_overwrite_that_is_refused_with_403_is_an_object_that_exists() -> None:
    async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            line = await request(reader)
            found = b'{"size": "2", "generation": "7"}'
            writer.write(answer(403) if line.startswith(b"POST") else answer(200, found))

    async with answering(guarded) as store:
        with pytest.raises(ObjectExists):
            await create(store)
        await prove(store)


def endless(status: int) -> Answering:
    async def how(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request(reader)
        writer.write(f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n\r\n".encode())
        # The bytes are bounded, so that a reader without a bound fails the test and not the
        # machine.
        for _ in range(256 * MAX_SMALL_BODY_BYTES // 65_536):
            writer.write(b" " * 65_536)
            await writer.drain()

    return how


@pytest.mark.parametrize("operation", [stat, create, prove])
async def test_what_is_said_of_an_object_is_read_up_to_a_bound(operation: Operation) -> None:
    async with answering(endless(200)) as store:
        with pytest.raises(ObjectsUnavailable, match="BodyTooLong"):
            await operation(store, 60.0)


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_of_an_error_that_does_not_end_the_status_decides(operation: Operation) -> None:
    async with answering(endless(403)) as store:
        with pytest.raises(ObjectsRefused, match="403 Forbidden: look at "):
            await operation(store, 60.0)


@pytest.mark.parametrize("readers", [16, MAX_PARALLEL_READS + 8])
async def test_reads_that_drip_neither_keep_a_thread_nor_keep_an_upload_waiting(
    readers: int,
) -> None:
    async def slow_to_read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await request(reader)
        if line.startswith(b"POST"):
            writer.write(answer(200))
            return
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with answering(slow_to_read) as store:
        reads = [asyncio.create_task(read(store)) for _ in range(readers)]
        await asyncio.sleep(0.1)
        await create(store, 5.0)
        results = await asyncio.gather(*reads, return_exceptions=True)
        await asyncio.sleep(0.1)
        idle = store._reads._work_queue.qsize()
        # Every thread is free again: together they take what comes now.
        async with stopwatch() as watch:
            again = [asyncio.create_task(read(store, 0.3)) for _ in range(MAX_PARALLEL_READS)]
            await asyncio.gather(*again, return_exceptions=True)
            seconds = watch.seconds

    assert all(isinstance(result, PortFailure) for result in results)
    assert idle == 0
    assert seconds < 0.3 + GRACE
