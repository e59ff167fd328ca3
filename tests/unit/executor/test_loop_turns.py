"""The event loop has its turn whatever legal input costs: a lease must be renewed meanwhile."""

import asyncio
import gc
import json
import struct
import threading
import time
import zlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from google.cloud.firestore_v1.types import BatchGetDocumentsResponse

from executor.contract.artifacts import GcsUri
from executor.contract.report_inputs import (
    MAX_PREVIOUS_REPORTS,
    PreviousReportSource,
    Sources,
)
from executor.inputs.context import ContextReader
from executor.ports import ModelAnswer, ObjectInfo, StoredObject
from executor.reports import making
from executor.reports.store import ReportStore
from executor.settings import Limits
from executor.validation.answer import MAX_BRACKETS, MAX_TEXT_CHARS
from shared.adapters.clock import SystemClock
from shared.adapters.firestore import FirestoreDocuments
from shared.adapters.firestore_values import value_message
from shared.computing import AT_ONCE_BYTES, computed
from shared.domain.document_size import MAX_DOCUMENT_BYTES, room_left
from shared.domain.documents import DocumentRef
from shared.domain.errors import InvalidStructuredOutput
from tests.support.held_job import REQUEST, RUN, Documents, held, invocation, logger
from tests.unit.executor.test_report_store import RECEIPT

#: The longest that the loop may go without a turn, in CPU seconds of the whole process. About
#: 0.1 are seen.
MOST_SECONDS = 0.5
JOBS = 4
LIMITS = Limits()
#: As many previous reports as the total of a step's JSON allows, beside its candles and its
#: manifest.
PREVIOUS = LIMITS.max_total_json_bytes // LIMITS.max_json_bytes - 2
SCHEMA: dict[str, Any] = {"type": "object", "required": ["summary", "details"]}


@pytest.fixture(autouse=True)
def _own_garbage_only() -> Iterator[None]:
    """Keep the garbage collector from what thousands of tests before this one keep alive.

    While lists are made, the collector looks through all living objects; in the function these
    are few.
    """
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


async def longest_stretch(work: Awaitable[object]) -> float:
    """The most CPU seconds between two turns of the loop while the work is done.

    The seconds are those of the process, not of the loop's thread: a thread beside it that does
    not let go of the interpreter holds up the loop as well.
    """
    longest, over = 0.0, asyncio.Event()

    async def count() -> None:
        nonlocal longest
        last = time.process_time()
        while not over.is_set():
            await asyncio.sleep(0)
            now = time.process_time()
            longest, last = max(longest, now - last), now

    counting = asyncio.create_task(count())
    try:
        await asyncio.sleep(0)
        await work
    finally:
        over.set()
        await counting
    return longest


async def held_up(work: Callable[[], Awaitable[object]]) -> float:
    """The longest stretch of the best of three tries, in seconds.

    The same work takes several times its CPU on a machine that others use; what holds up the
    loop does so in every try.
    """
    best = float("inf")
    for _ in range(3):
        best = min(best, await longest_stretch(work()))
        if best < MOST_SECONDS:
            break
    return best


def filled(item: str, size: int) -> bytes:
    """A JSON array of nothing but this item, of at most so many bytes."""
    return f"[{','.join([item] * ((size - 1) // (len(item) + 1)))}]".encode()


def chunked_png(size: int) -> bytes:
    """An image of so many bytes at most, in as many chunks as fit."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        whole = kind + body
        return struct.pack(">I", len(body)) + whole + struct.pack(">I", zlib.crc32(whole))

    head = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 2, 0, 0, 0))
    end, part = chunk(b"IEND", b""), chunk(b"IDAT", b"")
    return head + part * ((size - len(head) - len(end)) // len(part)) + end


@dataclass(frozen=True, kw_only=True)
class Largest:
    """Objects as large as they may be. Of the ObjectStore port, only reads are implemented."""

    document: bytes
    image: bytes

    async def read(
        self, uri: GcsUri, *, max_bytes: int, timeout_seconds: float
    ) -> StoredObject:
        await asyncio.sleep(0.001)
        items = [{"png_gcs_uri": f"gs://inputs/{n}.png"} for n in range(LIMITS.max_images)]
        manifest = json.dumps({"items": items}).encode()
        by_kind = {"png": self.image, "manifest": manifest}
        data = by_kind.get(uri.name.rpartition(".")[2], self.document)
        return StoredObject(data=data, generation=1)

    async def stat(self, uri: GcsUri, *, timeout_seconds: float) -> ObjectInfo | None:
        raise AssertionError

    async def create(self, uri: GcsUri, data: bytes, **how: Any) -> None:
        """Accept the object."""

    async def prove_writable(self, uri: GcsUri, *, timeout_seconds: float) -> None:
        raise AssertionError


@pytest.mark.parametrize("item", ["1", "{}", '{"":1}'])
@pytest.mark.parametrize(
    ("document_bytes", "image_bytes", "previous"),
    [
        (LIMITS.max_json_bytes, LIMITS.max_image_bytes, PREVIOUS),
        (AT_ONCE_BYTES - 1, AT_ONCE_BYTES - 1, MAX_PREVIOUS_REPORTS),
        (1_024, 1_024, MAX_PREVIOUS_REPORTS),
    ],
    ids=["largest", "small", "tiny"],
)
async def test_the_contexts_of_many_jobs_hold_up_nothing(
    item: str, document_bytes: int, image_bytes: int, previous: int
) -> None:
    objects = Largest(document=filled(item, document_bytes), image=chunked_png(image_bytes))
    reader = ContextReader(
        objects=objects, limits=LIMITS, buckets=frozenset({"inputs"}), log=logger()
    )
    sources = Sources(
        ohlcv=GcsUri("inputs", "candles"),
        charts_manifest=GcsUri("inputs", "charts.manifest"),
        previous_reports=tuple(
            PreviousReportSource(uri=GcsUri("inputs", f"report-{n}"), step_id=None)
            for n in range(previous)
        ),
    )

    def jobs() -> Awaitable[object]:
        return asyncio.gather(*(reader.read(sources, timeout_seconds=300) for _ in range(JOBS)))

    assert await held_up(jobs) < MOST_SECONDS


@pytest.mark.parametrize("item", ["{}", "[[[[[[]]]]]]"], ids=["flat", "nested"])
async def test_the_longest_answers_hold_up_nothing(item: str) -> None:
    head, end = '{"summary": {"markdown": ""}, "details": {"a": ', "}}"
    lists = ",".join([item] * ((MAX_BRACKETS - 4) // (len(item) // 2)))
    numbers = ",1" * ((MAX_TEXT_CHARS - len(head + lists + end) - 2) // 2)
    text = f"{head}[{lists}{numbers}]{end}"
    request = replace(REQUEST, json_schema=SCHEMA)
    work = invocation(await held(Documents(), clock=SystemClock()))

    async def judged() -> None:
        try:
            await making._output(answer(text), request, work)
        except InvalidStructuredOutput:
            """It is too much to be told in bounded work."""

    assert await held_up(judged) < MOST_SECONDS


def answer(text: str) -> ModelAnswer:
    return ModelAnswer(
        text=text,
        finish_reason="STOP",
        block_reason=None,
        model_version=None,
        response_id=None,
        usage=None,
    )


def nested(value: object, depth: int) -> object:
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "details", [[[0]] * 400_000, nested([1] * 600_000, 59)], ids=["flat", "deep"]
)
async def test_the_largest_report_is_written_without_holding_up_anything(
    details: object,
) -> None:
    document = {"output": {"details": details}}
    work = invocation(await held(Documents(), clock=SystemClock()))
    store = ReportStore(objects=Largest(document=b"", image=b""))

    def stored() -> Awaitable[object]:
        return store.create(GcsUri("reports", "r.json"), document, RECEIPT, work)

    assert await held_up(stored) < MOST_SECONDS


class _Answering:
    """A client of Firestore that gives one document to every read."""

    _database_string = "projects/p/databases/(default)"
    _rpc_metadata = ()

    def __init__(self, fields: Any) -> None:
        response = BatchGetDocumentsResponse.pb()()
        response.found.name = f"{self._database_string}/documents/{RUN.collection}/r"
        response.found.fields["filler"].CopyFrom(value_message(fields))
        self._response = BatchGetDocumentsResponse.wrap(response)

    @property
    def _firestore_api(self) -> "_Answering":
        return self

    async def batch_get_documents(self, *_: object, **__: object) -> Any:
        async def responses() -> Any:
            yield self._response

        return responses()


async def test_a_run_of_a_mebibyte_is_decoded_and_measured_without_holding_up_anything() -> (
    None
):
    client: Any = _Answering([{}] * (MAX_DOCUMENT_BYTES * 9 // 10))
    documents = FirestoreDocuments(client)

    async def read_and_measured() -> None:
        [found] = await documents.read([DocumentRef(RUN.collection, "r")], timeout_seconds=60)
        assert found is not None
        assert 0 < room_left(found) < MAX_DOCUMENT_BYTES // 10

    assert await held_up(read_and_measured) < MOST_SECONDS


@pytest.mark.parametrize(
    ("size_bytes", "at_once"),
    [(None, False), (0, True), (AT_ONCE_BYTES - 1, True), (AT_ONCE_BYTES, False)],
)
async def test_only_work_that_is_known_to_be_small_is_done_at_once(
    *, size_bytes: int | None, at_once: bool
) -> None:
    thread = await computed(threading.current_thread, size_bytes=size_bytes)

    assert (thread is threading.current_thread()) is at_once


async def test_many_small_works_in_one_turn_go_to_the_thread_as_well() -> None:
    def asked() -> Awaitable[list[threading.Thread]]:
        half = AT_ONCE_BYTES // 2
        return asyncio.gather(
            *(computed(threading.current_thread, size_bytes=half - 1) for _ in range(4))
        )

    for _ in range(2):
        here = [thread is threading.current_thread() for thread in await asked()]

        assert here == [True, True, False, False]


async def test_what_nobody_waits_for_any_more_is_not_begun() -> None:
    begun: list[str] = []

    def first() -> None:
        time.sleep(0.05)

    waiting = asyncio.create_task(computed(first))
    spared = asyncio.create_task(computed(lambda: begun.append("spared")))
    await asyncio.sleep(0)
    spared.cancel()
    await waiting
    await computed(lambda: begun.append("last"))

    assert begun == ["last"]


async def test_what_is_raised_beside_the_loop_reaches_the_one_who_asked() -> None:
    def fails() -> None:
        raise InvalidStructuredOutput("kind=json_parse")

    work: Callable[[], None] = fails
    with pytest.raises(InvalidStructuredOutput, match="json_parse"):
        await computed(work)
