"""What a new instance costs until it works, as Cloud Run starts one: process, port, request."""

import asyncio
import os
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import httpx2

from infra.local.cloud.cloud_events import Document, document_event
from infra.local.emulators.clients import firestore_client
from infra.local.emulators.pubsub import create_topics
from infra.local.processes.bundle import REPOSITORY
from infra.local.processes.children import ChildProcess, Command, running
from infra.local.processes.functions import (
    BUCKET,
    Function,
    LocalAddresses,
    process_environ,
    start_function,
)
from infra.local.scenario.single import single_report_run
from infra.local.serving.free_ports import LOOPBACK, free_port
from shared.adapters.firestore import FirestoreDocuments
from shared.domain.documents import Create, DocumentRef
from shared.ports import DocumentStore
from tests.benchmarks.baselines import single_function_command
from tests.benchmarks.cold_start import as_deployed
from tests.benchmarks.machine import processes
from tests.benchmarks.site import Jobs, services

_SECONDS = 60.0
_LOOK_SECONDS = 0.005
_NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)

#: Headers and body of a request that has never been sent.
_Request: TypeAlias = Callable[[], Awaitable[tuple[Mapping[str, str], bytes]]]


@dataclass(slots=True, kw_only=True)
class FirstRequest:
    """Samples of one function, in the order of the rounds."""

    #: From the start of the process to its first answer, of the framework itself.
    ready_seconds: list[float]
    #: Of the first request that has work to do, and of the second.
    first_seconds: list[float]
    second_seconds: list[float]
    #: All processes of the instance after both, what they share counted once.
    mebibytes: list[float]


def measure_first_requests(rounds: int) -> Mapping[str, FirstRequest]:
    """Start each function, in turn, so many times."""
    with services(0.0) as addresses, tempfile.TemporaryDirectory() as root:
        return asyncio.run(_measured(addresses, Path(root), rounds))


async def _measured(
    addresses: Mapping[str, str], root: Path, rounds: int
) -> Mapping[str, FirstRequest]:
    project = os.environ["GOOGLE_CLOUD_PROJECT"]
    found = LocalAddresses(
        firestore_host=addresses["FIRESTORE_EMULATOR_HOST"],
        pubsub_host=addresses["PUBSUB_EMULATOR_HOST"],
        storage_url=addresses["STORAGE_EMULATOR_HOST"],
        gemini_url=addresses["GEMINI_BASE_URL"],
    )
    # What the dispatcher publishes goes nowhere.
    await create_topics(found.pubsub_host, project, push_url=f"http://{LOOPBACK}:1")
    client: Any = firestore_client(found.firestore_host, project)
    jobs = Jobs(documents=FirestoreDocuments(client), storage_url=found.storage_url)
    await jobs.prepare()
    environ = process_environ(as_deployed(os.environ), project, found)
    event, push = _events(jobs.documents, project), _pushes(jobs)
    single = single_function_command(root, free_port(), environ)
    targets = {
        "dispatcher": (await _command("dispatcher", environ, root), event),
        "executor": (await _command("executor", environ, root), push),
        "single function": (single, event),
    }
    costs = {
        name: FirstRequest(ready_seconds=[], first_seconds=[], second_seconds=[], mebibytes=[])
        for name in targets
    }
    for _ in range(rounds):
        for name, (command, request) in targets.items():
            await _once(command, request, costs[name])
    client.close()
    return costs


async def _command(function: Function, environ: Mapping[str, str], root: Path) -> Command:
    """What the local environment starts the function with, its bundle written."""
    child, _ = await start_function(
        function, environ=environ, sources=REPOSITORY, bundles=root, log_folder=root
    )
    await child.stop()
    return child.command


async def _once(command: Command, request: _Request, cost: FirstRequest) -> None:
    url = f"http://{LOOPBACK}:{command.env['PORT']}"
    async with httpx2.AsyncClient(trust_env=False, timeout=_SECONDS) as client:
        prepared = [await request(), await request()]
        begun = time.perf_counter()
        async with running(replace(command, ready=_answering(client, url))) as child:
            cost.ready_seconds.append(time.perf_counter() - begun)
            for samples, (headers, body) in zip(
                (cost.first_seconds, cost.second_seconds), prepared, strict=True
            ):
                begun = time.perf_counter()
                answer = await client.post(url, content=body, headers=headers)
                samples.append(time.perf_counter() - begun)
                answer.raise_for_status()
            cost.mebibytes.append(_mebibytes(child))


def _answering(client: httpx2.AsyncClient, url: str) -> Callable[[], Awaitable[bool]]:
    """A probe that looks far more often than starting a function otherwise needs."""

    async def ready() -> bool:
        async with asyncio.timeout(_SECONDS):
            while True:
                try:
                    await client.get(f"{url}/robots.txt")
                except httpx2.TransportError:
                    await asyncio.sleep(_LOOK_SECONDS)
                else:
                    return True

    return ready


def _mebibytes(child: ChildProcess) -> float:
    kibibytes = 0
    for folder in processes(child.pid):
        with suppress(OSError, IndexError):  # it ended meanwhile
            rollup = (folder / "smaps_rollup").read_text()
            kibibytes += int(rollup.split("\nPss:")[1].split()[0])
    return kibibytes / 1024


def _events(documents: DocumentStore, project: str) -> _Request:
    """Events of new runs with one READY step each."""

    async def event() -> tuple[Mapping[str, str], bytes]:
        run_id = f"20260105-090000_BTCUSD_{uuid.uuid4().hex[:6]}"
        run, objects = single_report_run(bucket=BUCKET, run_id="20260105-090000_BTCUSD_shared")
        del objects  # those of the shared run lie in the bucket already
        run["runId"] = run_id
        ref = DocumentRef("flow_runs", run_id)
        version = await documents.commit([Create(ref=ref, data=run)], timeout_seconds=_SECONDS)
        message = document_event(
            project=project,
            document_path=f"flow_runs/{run_id}",
            old=None,
            new=Document(fields=run, create_time=version, update_time=version),
            event_id=uuid.uuid4().hex,
            time=_NOW,
        )
        return message.headers, message.body

    return event


def _pushes(jobs: Jobs) -> _Request:
    """Pushes of new jobs."""
    numbers = iter(range(1_000_000))

    async def push() -> tuple[Mapping[str, str], bytes]:
        number = next(numbers)
        [body] = await jobs.claimed(range(number, number + 1))
        return {"content-type": "application/json"}, body

    return push


def rounds_of(costs: Mapping[str, FirstRequest], name: str) -> Sequence[float]:
    """Seconds from the start of the process to the end of its first request."""
    cost = costs[name]
    return [a + b for a, b in zip(cost.ready_seconds, cost.first_seconds, strict=True)]
