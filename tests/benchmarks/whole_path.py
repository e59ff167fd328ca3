"""A step's way through real events and real processes: this system against one function."""

import asyncio
import os
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from infra.local.emulator_clients import firestore_client
from infra.local.emulator_events import create_app as create_events_app
from infra.local.emulator_events import register_trigger
from infra.local.emulator_servers import running_emulators
from infra.local.emulators import Found, find_emulators
from infra.local.environment import local_environment
from infra.local.firestore_proxy import FirestoreProxy, firestore_proxy
from infra.local.gemini import create_app as create_gemini
from infra.local.local_functions import (
    BUCKET,
    LocalAddresses,
    process_environ,
)
from infra.local.objects import ObjectFolder
from infra.local.ports import LOOPBACK, free_port
from infra.local.processes import running
from infra.local.relay import Relay
from infra.local.scenario.single import single_report_run
from infra.local.serve import serve
from infra.local.storage import create_app as create_storage
from infra.local.tuning import Tuning
from shared.adapters.firestore import FirestoreDocuments
from shared.domain.documents import Create, DocumentRef
from shared.ports import DocumentStore
from tests.benchmarks.single_process import publish_registry, single_function_command
from tests.benchmarks.stopwatch import Stopwatch

#: A real model takes many times as long; its time is taken off again.
MODEL_SECONDS = 0.1
_SECONDS = 60.0
_POLL_SECONDS = 0.02
_WARM_UP = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PathCost:
    """Milliseconds of single steps, one after the other, beyond the model's time."""

    #: From the write that makes the step READY to the write that ends it.
    whole: Sequence[float]
    #: Of the request that does the work: the push, or the event.
    working: Sequence[float]


def measure_paths(steps: int, *, network_seconds: float) -> tuple[PathCost, PathCost]:
    """Ours, and the single function's.

    On one machine a call takes almost no time, in a region some 10 to 30 ms: so much is put
    in front of every call of Firestore and Cloud Storage, for both alike.
    """
    with tempfile.TemporaryDirectory() as root:
        ours = asyncio.run(_ours(Path(root, "ours"), steps, network_seconds))
        single = Path(root, "single")
        single.mkdir()
        theirs = asyncio.run(_single(single, steps, network_seconds))
    return ours, theirs


def _delayed(seconds: float) -> Callable[[ASGIApp], ASGIApp]:
    def wrap(app: ASGIApp) -> ASGIApp:
        async def delayed(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                await asyncio.sleep(seconds)
            await app(scope, receive, send)

        return delayed

    return wrap


def _delay(proxy: FirestoreProxy, seconds: float) -> None:
    async def wait(_method: str) -> None:
        await asyncio.sleep(seconds)

    proxy.on_request = wait


async def _ours(root: Path, steps: int, network_seconds: float) -> PathCost:
    watch = Stopwatch()
    tuning = Tuning(push_detour=watch.detour, storage_wrapper=_delayed(network_seconds))
    async with (
        serve(create_gemini(latency_seconds=MODEL_SECONDS), name="stand-in") as url,
        local_environment(
            embedded=False, data_dir=root, say=print, gemini_url=url, tuning=tuning
        ) as environment,
    ):
        assert environment.instruments is not None
        for proxy in environment.instruments.firestore.values():
            _delay(proxy, network_seconds)
        await publish_registry(environment.documents)
        return await _timed(environment.documents, environment.objects, watch, steps)


async def _single(root: Path, steps: int, network_seconds: float) -> PathCost:
    watch = Stopwatch()
    async with _single_site(root, watch, network_seconds) as (documents, folder):
        await publish_registry(documents)
        return await _timed(documents, folder, watch, steps)


@asynccontextmanager
async def _single_site(
    root: Path, watch: Stopwatch, network_seconds: float
) -> AsyncIterator[tuple[DocumentStore, ObjectFolder]]:
    found = find_emulators(os.environ, Path.home())
    assert isinstance(found, Found)
    project, folder = f"bench-{uuid.uuid4().hex[:8]}", ObjectFolder(root / "objects")
    folder.create_bucket(BUCKET)
    gemini = create_gemini(latency_seconds=MODEL_SECONDS)
    async with (
        serve(_delayed(network_seconds)(create_storage(folder)), name="storage") as storage_url,
        serve(gemini, name="stand-in") as gemini_url,
        Relay(f"http://{LOOPBACK}:0") as relay,
        serve(create_events_app(relay, project=project), name="event server") as events_url,
        running_emulators(
            found,
            log_folder=root,
            environ=os.environ,
            events_address=events_url.removeprefix("http://"),
        ) as emulators,
        firestore_proxy(emulators.firestore_host) as proxy,
    ):
        _delay(proxy, network_seconds)
        addresses = LocalAddresses(
            firestore_host=proxy.address,
            pubsub_host=emulators.pubsub_host,
            storage_url=storage_url,
            gemini_url=gemini_url,
        )
        port = free_port()
        environ = process_environ(os.environ, project, addresses)
        async with (
            running(single_function_command(root, port, environ)),
            watch.detour(f"http://{LOOPBACK}:{port}") as relay.target_url,
        ):
            await register_trigger(emulators.firestore_host, project)
            client: Any = firestore_client(emulators.firestore_host, project)
            yield FirestoreDocuments(client), folder
            client.close()


async def _timed(
    documents: DocumentStore, folder: ObjectFolder, watch: Stopwatch, steps: int
) -> PathCost:
    whole = []
    for number in range(_WARM_UP + steps):
        if number == _WARM_UP:
            await asyncio.sleep(1)
            watch.times.clear()
        whole.append(await _one(documents, folder, number))
    working = sorted(watch.times)[-steps:]
    return PathCost(
        whole=[(seconds - MODEL_SECONDS) * 1000 for seconds in whole[_WARM_UP:]],
        working=[(seconds - MODEL_SECONDS) * 1000 for seconds in working],
    )


async def _one(documents: DocumentStore, folder: ObjectFolder, number: int) -> float:
    """Seconds by the database's own clock, from one write to the other."""
    run_id = f"20260105-090000_BTCUSD_{number:06x}"
    run, objects = single_report_run(bucket=BUCKET, run_id=run_id)
    for item in objects:
        folder.write(item.bucket, item.name, item.data, content_type=item.content_type)
    ref = DocumentRef("flow_runs", run_id)
    begun = await documents.commit([Create(ref=ref, data=run)], timeout_seconds=_SECONDS)
    async with asyncio.timeout(_SECONDS):
        while True:
            [found] = await documents.read([ref], timeout_seconds=_SECONDS)
            status = found and found.data["steps"]["llm_report_1d"]["status"]
            if found and status in {"SUCCEEDED", "FAILED"}:
                assert status == "SUCCEEDED", found.data
                return (found.version - begun) / 1e9
            await asyncio.sleep(_POLL_SECONDS)


if __name__ == "__main__":
    for cost in measure_paths(5, network_seconds=0.02):
        sys.stdout.write(f"{cost}\n")
