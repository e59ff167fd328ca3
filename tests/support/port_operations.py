"""Every operation of every port, on the real adapter, against a server that fails as told."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import grpc
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Client
from pydantic import SecretStr

from executor.adapters.gcs import GcsObjects
from executor.adapters.gemini import GeminiModel
from executor.adapters.interactions import GeminiInteractions
from executor.adapters.provider_client import ProviderClient, make_client
from executor.contract.artifacts import GcsUri
from executor.ports import CallForgotten, ObjectMissing
from executor.settings import Backend, GeminiSettings
from infra.local.emulators.clients import firestore_client, publisher_client, subscriber_client
from infra.local.serving.free_ports import LOOPBACK, free_port
from infra.ops.dead_letters import box as letters
from infra.ops.dead_letters.box import BoxUnavailable, PubSubDeadLetters
from shared.adapters.clock import SystemClock
from shared.adapters.firestore import FirestoreDocuments, FirestoreUnfinishedWork
from shared.adapters.pubsub import PubSubQueue
from shared.domain.documents import Create, DocumentRef
from shared.domain.errors import RetryableError, StepError
from shared.domain.messages import OutgoingMessage
from shared.ports import Conflict, Refused, Unavailable
from tests.support import failing_grpc, failing_http
from tests.support.held_job import REQUEST
from tests.support.machine_time import stopwatch
from tests.tables.port_faults import Fault, Operation, Outcome

_REF = DocumentRef("flow_runs", "r")
_URI = GcsUri("reports", "run/1d/step.json")
_NOW = datetime(2026, 1, 5, tzinfo=UTC)
_CALL = "v1_call"
_Status = grpc.StatusCode

_GRPC: Mapping[Fault, failing_grpc.Behavior] = {
    Fault.HANG: failing_grpc.hang,
    Fault.DRIP: failing_grpc.drip,
    Fault.GARBAGE: failing_grpc.garbage,
    Fault.BUSY: failing_grpc.failing(_Status.RESOURCE_EXHAUSTED),
    Fault.DEFECT: failing_grpc.failing(_Status.INTERNAL),
    Fault.DOWN: failing_grpc.failing(_Status.UNAVAILABLE),
    Fault.MALFORMED: failing_grpc.failing(_Status.INVALID_ARGUMENT),
    Fault.UNKNOWN_CALLER: failing_grpc.failing(_Status.UNAUTHENTICATED),
    Fault.FORBIDDEN: failing_grpc.failing(_Status.PERMISSION_DENIED),
    Fault.MISSING: failing_grpc.failing(_Status.NOT_FOUND),
}
_HTTP: Mapping[Fault, failing_http.Answering] = {
    Fault.HANG: failing_http.hang,
    Fault.DRIP: failing_http.drip_body,
    Fault.HALF: failing_http.half,
    Fault.GARBAGE: failing_http.garbage,
    Fault.BUSY: failing_http.always(429),
    Fault.DEFECT: failing_http.always(500),
    Fault.DOWN: failing_http.always(503),
    Fault.MALFORMED: failing_http.always(400),
    Fault.UNKNOWN_CALLER: failing_http.always(401),
    Fault.FORBIDDEN: failing_http.always(403),
    Fault.MISSING: failing_http.always(404),
}


class _Nobody(AnonymousCredentials):
    """Sends no token, and has no other one to try."""

    def refresh(self, request: object) -> None:
        del request


@asynccontextmanager
async def _server(fault: Fault, *, over_grpc: bool) -> AsyncIterator[str]:
    """The place of a server that fails so: host:port, or a URL."""
    if fault is Fault.NOBODY:
        place = f"{LOOPBACK}:{free_port()}"
        yield place if over_grpc else f"http://{place}"
    elif over_grpc:
        async with failing_grpc.serving(_GRPC[fault]) as place:
            yield place
    else:
        async with failing_http.serving(_HTTP[fault]) as place:
            yield place


async def met(operation: Operation, fault: Fault, seconds: float) -> tuple[Outcome, float]:
    """What comes of the operation, given so much time, and after how many seconds."""
    opened, act = _ACTS[operation]
    over_grpc = opened not in _OVER_HTTP
    async with (
        _server(fault, over_grpc=over_grpc) as place,
        opened(place) as adapter,
        stopwatch() as watch,
    ):
        try:
            outcome = await act(adapter, seconds)
        except Exception as error:  # noqa: BLE001 - what it is, the table says
            outcome = _outcome(error)
        return outcome, watch.seconds


def _outcome(error: Exception) -> Outcome:
    """What a port's exception means.

    Raises:
        Exception: the error itself, where it is none of a port's.
    """
    match error:
        case Conflict():
            return Outcome.CONFLICT
        case ObjectMissing():
            return Outcome.NOTHING_THERE
        case Unavailable() | RetryableError() | BoxUnavailable():
            return Outcome.UNAVAILABLE
        case Refused() | StepError():
            return Outcome.REFUSED
        case _:
            raise error


@asynccontextmanager
async def _documents(place: str) -> AsyncIterator[FirestoreDocuments]:
    client: Any = firestore_client(place, "p")
    yield FirestoreDocuments(client)


@asynccontextmanager
async def _unfinished_work(place: str) -> AsyncIterator[FirestoreUnfinishedWork]:
    yield FirestoreUnfinishedWork(firestore_client(place, "p"))


@asynccontextmanager
async def _queue(place: str) -> AsyncIterator[PubSubQueue]:
    yield PubSubQueue(publisher_client(place), "projects/p/topics/t")


@asynccontextmanager
async def _box(place: str) -> AsyncIterator[PubSubDeadLetters]:
    async with subscriber_client(place) as client:
        yield PubSubDeadLetters(client, "projects/p/subscriptions/s")


@asynccontextmanager
async def _objects(place: str) -> AsyncIterator[GcsObjects]:
    client = Client(
        project="p",
        credentials=_Nobody(),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": place},
    )
    try:
        yield GcsObjects(client)
    finally:
        client.close()


@asynccontextmanager
async def _provider(place: str) -> AsyncIterator[ProviderClient]:
    settings = GeminiSettings(
        backend=Backend.AI_STUDIO,
        api_key=SecretStr("k"),
        location="europe-west4",
        base_url=place,
        timeout_seconds=30,
    )
    client = make_client(settings, "p")
    try:
        yield client
    finally:
        await client.aio.aclose()


@asynccontextmanager
async def _model(place: str) -> AsyncIterator[GeminiModel]:
    async with _provider(place) as client:
        yield GeminiModel(client, SystemClock())


@asynccontextmanager
async def _interactions(place: str) -> AsyncIterator[GeminiInteractions]:
    async with _provider(place) as client:
        yield GeminiInteractions(client, SystemClock())


def _found(found: object) -> Outcome:
    return Outcome.DONE if found else Outcome.NOTHING_THERE


async def _read(documents: FirestoreDocuments, seconds: float) -> Outcome:
    [found] = await documents.read([_REF], timeout_seconds=seconds)
    return _found(found)


async def _commit(documents: FirestoreDocuments, seconds: float) -> Outcome:
    await documents.commit([Create(ref=_REF, data={"a": 1})], timeout_seconds=seconds)
    return Outcome.DONE


async def _due_jobs(work: FirestoreUnfinishedWork, seconds: float) -> Outcome:
    return _found(await work.due_jobs(_NOW, after=None, limit=5, timeout_seconds=seconds))


async def _running_runs(work: FirestoreUnfinishedWork, seconds: float) -> Outcome:
    runs = await work.running_runs("flow_runs", after=None, limit=5, timeout_seconds=seconds)
    return _found(runs)


async def _publish(queue: PubSubQueue, seconds: float) -> Outcome:
    await queue.publish([OutgoingMessage(data=b"x")], timeout_seconds=seconds)
    return Outcome.DONE


async def _pull(dead: PubSubDeadLetters, seconds: float) -> Outcome:
    with _letters_in(seconds):
        return _found(await dead.pull(1))


async def _acknowledge(dead: PubSubDeadLetters, seconds: float) -> Outcome:
    with _letters_in(seconds):
        await dead.acknowledge(["a"])
    return Outcome.DONE


def _letters_in(seconds: float) -> Any:
    """Dead letters have times of their own."""
    times: dict[str, Any] = {"_CALL_SECONDS": seconds, "_PULL_SECONDS": seconds / 2}
    return mock.patch.multiple(letters, **times)


async def _stat(store: GcsObjects, seconds: float) -> Outcome:
    return _found(await store.stat(_URI, timeout_seconds=seconds))


async def _read_object(store: GcsObjects, seconds: float) -> Outcome:
    await store.read(_URI, max_bytes=65_536, timeout_seconds=seconds)
    return Outcome.DONE


async def _create(store: GcsObjects, seconds: float) -> Outcome:
    kind = "application/json"
    await store.create(_URI, b"{}", content_type=kind, metadata={}, timeout_seconds=seconds)
    return Outcome.DONE


async def _generate(model: GeminiModel, seconds: float) -> Outcome:
    await model.generate(REQUEST, timeout_seconds=seconds)
    return Outcome.DONE


async def _begin(model: GeminiInteractions, seconds: float) -> Outcome:
    await model.begin(REQUEST, timeout_seconds=seconds)
    return Outcome.DONE


async def _fetch(model: GeminiInteractions, seconds: float) -> Outcome:
    state = await model.fetch(_CALL, timeout_seconds=seconds)
    return _found(not isinstance(state, CallForgotten))


async def _forget(model: GeminiInteractions, seconds: float) -> Outcome:
    # Two requests, as the call has to be stopped before.
    await model.forget(_CALL, ended=False, timeout_seconds=seconds)
    return Outcome.DONE


_Opened = Callable[[str], AbstractAsyncContextManager[Any]]
_ACTS: Mapping[Operation, tuple[_Opened, Callable[[Any, float], Awaitable[Outcome]]]] = {
    Operation.READ: (_documents, _read),
    Operation.COMMIT: (_documents, _commit),
    Operation.DUE_JOBS: (_unfinished_work, _due_jobs),
    Operation.RUNNING_RUNS: (_unfinished_work, _running_runs),
    Operation.PUBLISH: (_queue, _publish),
    Operation.PULL: (_box, _pull),
    Operation.ACKNOWLEDGE: (_box, _acknowledge),
    Operation.STAT: (_objects, _stat),
    Operation.READ_OBJECT: (_objects, _read_object),
    Operation.CREATE: (_objects, _create),
    Operation.GENERATE: (_model, _generate),
    Operation.BEGIN: (_interactions, _begin),
    Operation.FETCH: (_interactions, _fetch),
    Operation.FORGET: (_interactions, _forget),
}
_OVER_HTTP: frozenset[_Opened] = frozenset({_objects, _model, _interactions})
