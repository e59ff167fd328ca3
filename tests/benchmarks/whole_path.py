"""A step's way through real events and real processes: this system against one function."""

import asyncio
import itertools
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from starlette.types import ASGIApp, Receive, Scope, Send

from infra.local.emulators.firestore_proxy import FirestoreProxy
from infra.local.emulators.relay import Relay
from infra.local.environment import local_environment
from infra.local.gemini import create_app as create_gemini
from infra.local.overrides import EnvironmentOverrides
from infra.local.processes.children import ChildProcess, running
from infra.local.processes.functions import (
    BUCKET,
)
from infra.local.scenario.single import single_report_run
from infra.local.serving.asgi import serve
from infra.local.serving.free_ports import LOOPBACK, free_port
from infra.local.storage.objects import ObjectFolder
from shared.domain.documents import Create, DocumentRef
from shared.ports import DocumentStore
from tests.benchmarks.baselines import (
    bare_function_command,
    publish_registry,
)
from tests.benchmarks.machine import cpu_milliseconds
from tests.benchmarks.single_site import single_site
from tests.benchmarks.stopwatch import Stopwatch

#: A real model takes many times as long; its time is taken off again.
MODEL_SECONDS = 0.1
#: As Cloud Scheduler does; a user's local environment sweeps more often.
_SWEEP_SECONDS = 60.0
_SECONDS = 60.0
_POLL_SECONDS = 0.02
#: The emulators' Java gets faster for as long.
_WARM_UP = 100


@dataclass(slots=True, kw_only=True)
class PathCost:
    """Milliseconds of single steps, one after the other, beyond the model's time."""

    #: From the write that makes the step READY to the write that ends it.
    whole: list[float] = field(default_factory=list)
    #: Of the request that does the work: the push, or the event.
    working: list[float] = field(default_factory=list)
    #: Of the event that claims; the single function has none of its own.
    claiming: list[float] = field(default_factory=list)
    #: Processor time a step of the process that works, all its requests together.
    cpu: float = 0.0


@dataclass(slots=True, kw_only=True)
class PathPair:
    """Both systems' samples, and those of bare calls; they took turns, step by step."""

    ours: PathCost = field(default_factory=PathCost)
    theirs: PathCost = field(default_factory=PathCost)
    #: The executor's calls with no logic, in its place: nothing but `working` and `cpu`.
    bare: PathCost = field(default_factory=PathCost)


@dataclass(slots=True)
class _Network:
    """What is put in front of every call of Firestore and Cloud Storage."""

    seconds: float = 0.0


def measure_paths(steps: int, *, network_seconds: Sequence[float]) -> Mapping[float, PathPair]:
    """Network seconds -> what it costs.

    On one machine a call takes almost no time, in a region some 10 to 30 ms: so much is put
    in front of every call of Firestore and Cloud Storage, for all alike.
    """
    return asyncio.run(_measured(steps, network_seconds))


async def _measured(steps: int, network_seconds: Sequence[float]) -> Mapping[float, PathPair]:
    network, numbers = _Network(), itertools.count()
    with tempfile.TemporaryDirectory() as root, tempfile.TemporaryDirectory() as other:
        async with (
            _our_site(Path(root), network) as ours,
            _single_site(Path(other), network) as single,
            _bare_site(Path(root), ours) as bare,
        ):
            await _turns(ours, single, bare, list(itertools.islice(numbers, _WARM_UP)))
            found = {}
            for network.seconds in network_seconds:
                chosen = list(itertools.islice(numbers, steps))
                found[network.seconds] = await _turns(ours, single, bare, chosen)
            return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Site:
    documents: DocumentStore
    folder: ObjectFolder
    relay: Relay
    working: Stopwatch
    claiming: Stopwatch | None
    #: Does the work.
    process: ChildProcess


@dataclass(frozen=True, slots=True, kw_only=True)
class _BareSite:
    url: str
    working: Stopwatch
    process: ChildProcess


async def _turns(
    ours: _Site, single: _Site, bare: _BareSite, numbers: Sequence[int]
) -> PathPair:
    pair = PathPair()
    places = (
        (ours.process, pair.ours),
        (single.process, pair.theirs),
        (bare.process, pair.bare),
    )
    before = [cpu_milliseconds(process.pid) for process, _ in places]
    for number in numbers:
        await _one(ours, number, pair.ours)
        await _one(single, number, pair.theirs)
        await _one_bare(bare, number, pair.bare)
        # The event of its last write.
        await ours.relay.idle()
    for (process, cost), begun in zip(places, before, strict=True):
        cost.cpu = (cpu_milliseconds(process.pid) - begun) / len(numbers)
    return pair


def _delayed(network: _Network) -> Callable[[ASGIApp], ASGIApp]:
    def wrap(app: ASGIApp) -> ASGIApp:
        async def delayed(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                await asyncio.sleep(network.seconds)
            await app(scope, receive, send)

        return delayed

    return wrap


def _delay(proxy: FirestoreProxy, network: _Network) -> None:
    async def wait(_method: str) -> None:
        await asyncio.sleep(network.seconds)

    proxy.on_request = wait


@asynccontextmanager
async def _our_site(root: Path, network: _Network) -> AsyncIterator[_Site]:
    pushes, events = Stopwatch(), Stopwatch()
    tuning = EnvironmentOverrides(
        push_detour=pushes.detour,
        storage_wrapper=_delayed(network),
        sweep_every_seconds=_SWEEP_SECONDS,
    )
    async with (
        serve(create_gemini(latency_seconds=MODEL_SECONDS), name="stand-in") as url,
        local_environment(
            embedded=False, data_dir=root, say=print, gemini_url=url, tuning=tuning
        ) as environment,
    ):
        instruments = environment.instruments
        assert instruments is not None
        for proxy in instruments.firestore.values():
            _delay(proxy, network)
        async with events.detour(instruments.relay.target_url) as instruments.relay.target_url:
            await publish_registry(environment.documents)
            yield _Site(
                documents=environment.documents,
                folder=environment.objects,
                relay=instruments.relay,
                working=pushes,
                claiming=events,
                process=instruments.functions["executor"],
            )


@asynccontextmanager
async def _single_site(root: Path, network: _Network) -> AsyncIterator[_Site]:
    watch, gemini = Stopwatch(), create_gemini(latency_seconds=MODEL_SECONDS)
    async with (
        single_site(root, gemini=gemini, storage_wrapper=_delayed(network)) as site,
        watch.detour(site.relay.target_url) as site.relay.target_url,
    ):
        _delay(site.proxy, network)
        yield _Site(
            documents=site.documents,
            folder=site.folder,
            relay=site.relay,
            working=watch,
            claiming=None,
            process=site.process,
        )


@asynccontextmanager
async def _bare_site(root: Path, ours: _Site) -> AsyncIterator[_BareSite]:
    """Bare calls in the executor's place: its environment, server and services."""
    watch, port = Stopwatch(), free_port()
    command = bare_function_command(root, port, ours.process.command.env)
    async with (
        running(command) as process,
        watch.detour(f"http://{LOOPBACK}:{port}") as url,
    ):
        yield _BareSite(url=url, working=watch, process=process)


async def _one(site: _Site, number: int, cost: PathCost) -> None:
    """Time one step, by the database's own clock from one write to the other."""
    run_id = f"20260105-090000_BTCUSD_{number:06x}"
    run, objects = single_report_run(bucket=BUCKET, run_id=run_id)
    for item in objects:
        site.folder.write(item.bucket, item.name, item.data, content_type=item.content_type)
    ref = DocumentRef("flow_runs", run_id)
    watches = [watch for watch in (site.working, site.claiming) if watch]
    for watch in watches:
        watch.times.clear()
    begun = await site.documents.commit([Create(ref=ref, data=run)], timeout_seconds=_SECONDS)
    ended = await _ended(site.documents, ref)
    async with asyncio.timeout(_SECONDS):
        # The events of our own writes too, and the answer of the request that did the work.
        await site.relay.idle()
        while not site.working.times:  # noqa: ASYNC110 -- a list, as tests read it
            await asyncio.sleep(_POLL_SECONDS)
    cost.whole.append((ended - begun) / 1e6 - 1000 * MODEL_SECONDS)
    # The longest is the one that worked: the others asked for nothing.
    cost.working.append(1000 * (max(site.working.times) - MODEL_SECONDS))
    if site.claiming:
        cost.claiming.append(1000 * max(site.claiming.times))


async def _one_bare(site: _BareSite, number: int, cost: PathCost) -> None:
    async with httpx2.AsyncClient(trust_env=False, timeout=_SECONDS) as client:
        answer = await client.post(site.url, content=str(number))
    answer.raise_for_status()
    cost.working.append(1000 * (site.working.times.pop() - MODEL_SECONDS))


async def _ended(documents: DocumentStore, ref: DocumentRef) -> int:
    async with asyncio.timeout(_SECONDS):
        while True:
            [found] = await documents.read([ref], timeout_seconds=_SECONDS)
            status = found and found.data["steps"]["llm_report_1d"]["status"]
            if found and status in {"SUCCEEDED", "FAILED"}:
                assert status == "SUCCEEDED", found.data
                return found.version
            await asyncio.sleep(_POLL_SECONDS)
