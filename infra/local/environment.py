"""The local environment: the whole system on this machine, for as long as a block lasts.

With the official emulators, all functions are real functions-framework processes, started
from the very bundles that would be deployed. Without, the same code runs embedded.
"""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from infra.local.bundle import REPOSITORY
from infra.local.embedded.environment import EmbeddedEnvironment
from infra.local.emulator_clients import FIRESTORE_VARIABLE, firestore_client
from infra.local.emulator_events import create_app as create_events_app
from infra.local.emulator_events import register_trigger
from infra.local.emulator_servers import RunningEmulators, running_emulators
from infra.local.emulators import Found, find_emulators
from infra.local.firestore_proxy import FirestoreProxy, firestore_proxy
from infra.local.local_functions import (
    BUCKET,
    Function,
    LocalAddresses,
    function_environ,
    process_environ,
    start_function,
)
from infra.local.objects import ObjectFolder
from infra.local.ports import LOOPBACK
from infra.local.processes import ChildProcess, ProcessFailed
from infra.local.pubsub_setup import create_topics
from infra.local.relay import Relay
from infra.local.scheduler import post, scheduled
from infra.local.serve import serve
from infra.local.state_file import Backend, EnvironmentState, claimed, publish_state
from infra.local.storage import create_app as create_storage_app
from infra.local.tuning import Instruments, Tuning
from shared.adapters.firestore import FirestoreDocuments
from shared.ports import DocumentStore

_START_AGAIN_SECONDS = 0.2
_FIRESTORE, _PUBSUB = "Firestore emulator", "Pub/Sub emulator"


class EmulatorsMissing(Exception):
    """The emulators were asked for and cannot be used; the message says why and the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalEnvironment:
    """A running local environment; all of it ends with the block that yielded it."""

    backend: Backend
    project: str
    bucket: str
    documents: DocumentStore
    objects: ObjectFolder
    log_folder: Path
    #: Name of each part -> where it answers.
    addresses: Mapping[str, str]
    processes: Sequence[ChildProcess]
    #: The worker's calls to the document store so far.
    firestore_calls: Callable[[], int]
    #: None where there are no emulators.
    instruments: Instruments | None = None


_AS_A_USER = Tuning()


@asynccontextmanager
async def local_environment(
    *,
    embedded: bool | None,
    data_dir: Path,
    say: Callable[[str], None],
    environ: Mapping[str, str] = os.environ,
    gemini_url: str | None = None,
    sources: Path = REPOSITORY,
    tuning: Tuning = _AS_A_USER,
) -> AsyncIterator[LocalEnvironment]:
    """Run the local environment, ready, below `data_dir` for as long as the block lasts.

    `embedded` is what the user asked for; None takes the emulators if there are any, and
    tells `say` in one line if there are none. `gemini_url` is another server in the place of
    the stand-in, `sources` the folder of the packages that the bundles are made from.

    Raises:
        AlreadyUp: an environment runs below `data_dir` already.
        EmulatorsMissing: `embedded` is False and an emulator cannot be used.
        ProcessFailed: A part did not start, or ended by itself; the block is canceled then.
    """
    found = _choose(embedded, environ, say)
    # A project and objects of its own for each start: nothing of an earlier one is met again.
    project = f"local-{uuid.uuid4().hex[:8]}"
    async with AsyncExitStack() as stack:
        stack.enter_context(claimed(data_dir))
        folder = ObjectFolder(data_dir / "objects" / project)
        folder.create_bucket(BUCKET)
        log_folder = data_dir / "logs"
        log_folder.mkdir(parents=True, exist_ok=True)
        model = gemini_url or await _gemini_stand_in(stack)
        site = _Site(
            stack, project, folder, data_dir, sources, log_folder, environ, model, tuning
        )
        running = await (_embedded(site) if found is None else _emulated(site, found))
        publish_state(data_dir, _state(running))
        async with _watched(running, restarts=tuning.restarts):
            yield running


def _state(running: LocalEnvironment) -> EnvironmentState:
    urls = dict(running.addresses)
    return EnvironmentState(
        pid=os.getpid(),
        backend=running.backend,
        project=running.project,
        bucket=running.bucket,
        object_folder=running.objects.root,
        log_folder=running.log_folder,
        firestore_host=urls.pop(_FIRESTORE, None),
        pubsub_host=urls.pop(_PUBSUB, None),
        urls=urls,
    )


@dataclass(frozen=True, slots=True)
class _Site:
    stack: AsyncExitStack
    project: str
    folder: ObjectFolder
    data_dir: Path
    sources: Path
    log_folder: Path
    environ: Mapping[str, str]
    gemini_url: str
    tuning: Tuning


def _choose(
    embedded: bool | None,  # noqa: FBT001 - three-valued: None lets the machine decide
    environ: Mapping[str, str],
    say: Callable[[str], None],
) -> Found | None:
    """The emulators to use; None for none."""
    if embedded:
        return None
    # A Firestore emulator that runs already was not told where to deliver events.
    usable = {name: value for name, value in environ.items() if name != FIRESTORE_VARIABLE}
    found = find_emulators(usable, Path.home())
    if isinstance(found, Found):
        return found
    reasons = "; ".join(found.reasons)
    if embedded is False:
        raise EmulatorsMissing(reasons)
    say(f"running embedded, without the emulators: {reasons}")
    return None


async def _gemini_stand_in(stack: AsyncExitStack) -> str:
    # Late: whoever brings another model does not load it.
    from infra.local.gemini import create_app  # noqa: PLC0415

    return await stack.enter_async_context(serve(create_app(), name="Gemini stand-in"))


async def _embedded(site: _Site) -> LocalEnvironment:
    log = site.stack.enter_context((site.log_folder / "worker.log").open("w"))
    environment = EmbeddedEnvironment(
        environ={**function_environ(site.project, site.gemini_url), **site.tuning.settings},
        folder=site.folder,
        log_stream=log,
    )
    await site.stack.enter_async_context(environment)
    return LocalEnvironment(
        backend="embedded",
        project=site.project,
        bucket=BUCKET,
        documents=environment.documents,
        objects=site.folder,
        log_folder=site.log_folder,
        addresses={"Gemini stand-in": site.gemini_url},
        processes=(),
        firestore_calls=lambda: environment.worker_documents.calls,
    )


async def _emulated(site: _Site, found: Found) -> LocalEnvironment:
    _empty_logs(site.log_folder)
    enter = site.stack.enter_async_context
    storage = site.tuning.storage_wrapper(create_storage_app(site.folder))
    storage_url = await enter(serve(storage, name="storage server"))
    # Its target is known once the dispatcher runs; before the trigger nothing arrives.
    relay = await enter(Relay(f"http://{LOOPBACK}:0"))
    emulators = await _emulators(site, found, relay)
    # The sweep goes past a proxy: what it reads is its own cost, not that of a step.
    proxies = {
        name: await enter(firestore_proxy(emulators.firestore_host))
        for name in ("dispatcher", "executor")
    }
    addresses = LocalAddresses(
        firestore_host=emulators.firestore_host,
        pubsub_host=emulators.pubsub_host,
        storage_url=storage_url,
        gemini_url=site.gemini_url,
    )
    functions, urls = await _functions(site, addresses, proxies)
    relay.target_url = urls["dispatcher"]
    push_url = await _deliver(site, addresses, urls)
    instruments = Instruments(
        relay=relay, firestore=proxies, emulators=emulators.processes, functions=functions
    )
    client = firestore_client(emulators.firestore_host, site.project)
    site.stack.callback(client.close)
    return LocalEnvironment(
        backend="emulators",
        project=site.project,
        bucket=BUCKET,
        documents=FirestoreDocuments(client),
        objects=site.folder,
        log_folder=site.log_folder,
        addresses={
            _FIRESTORE: emulators.firestore_host,
            _PUBSUB: emulators.pubsub_host,
            "storage server": storage_url,
            "Gemini stand-in": site.gemini_url,
            **urls,
            "pushes": push_url,
        },
        processes=(*emulators.processes, *functions.values()),
        firestore_calls=lambda: instruments.firestore_calls,
        instruments=instruments,
    )


async def _emulators(site: _Site, found: Found, relay: Relay) -> RunningEmulators:
    """The emulators, the Firestore one with its events going to the relay."""
    events_app = create_events_app(relay, project=site.project)
    enter = site.stack.enter_async_context
    events_url = await enter(serve(events_app, name="event server"))
    return await enter(
        running_emulators(
            found,
            log_folder=site.log_folder,
            environ=site.environ,
            events_address=events_url.removeprefix("http://"),
        )
    )


async def _functions(
    site: _Site, addresses: LocalAddresses, proxies: Mapping[str, FirestoreProxy]
) -> tuple[dict[str, ChildProcess], dict[str, str]]:
    """The functions' processes and URLs, by their names."""
    hosts = {name: proxy.address for name, proxy in proxies.items()}
    names: tuple[Function, ...] = ("dispatcher", "executor", "sweep")
    started = {name: await _function(site, name, addresses, hosts) for name in names}
    children = {str(name): child for name, (child, _) in started.items()}
    return children, {str(name): url for name, (_, url) in started.items()}


async def _deliver(site: _Site, addresses: LocalAddresses, urls: Mapping[str, str]) -> str:
    """Have jobs pushed, events sent and sweeps called; where the pushes go."""
    enter, tuning = site.stack.enter_async_context, site.tuning
    executor_url, sweep_url = urls["executor"], urls["sweep"]
    push_url = executor_url
    if tuning.push_detour:
        push_url = await enter(tuning.push_detour(executor_url))
    await create_topics(
        addresses.pubsub_host,
        site.project,
        push_url=push_url,
        ack_deadline_seconds=tuning.ack_deadline_seconds,
    )
    await register_trigger(addresses.firestore_host, site.project)
    await enter(scheduled(lambda: post(sweep_url), every_seconds=tuning.sweep_every_seconds))
    return push_url


async def _function(
    site: _Site, function: Function, addresses: LocalAddresses, hosts: Mapping[str, str]
) -> tuple[ChildProcess, str]:
    firestore_host = hosts.get(function, addresses.firestore_host)
    reached = replace(addresses, firestore_host=firestore_host)
    environ = process_environ(site.environ, site.project, reached)
    child, url = await start_function(
        function,
        environ={**environ, **site.tuning.settings},
        sources=site.sources,
        bundles=site.data_dir / "bundles",
        log_folder=site.log_folder,
    )
    site.stack.push_async_callback(child.stop)
    return child, url


@asynccontextmanager
async def _watched(running: LocalEnvironment, *, restarts: bool) -> AsyncIterator[None]:
    """Start functions again that end by themselves; or cancel the block, and say which did."""
    functions = running.instruments.functions.values() if running.instruments else ()
    try:
        async with asyncio.TaskGroup() as group:
            watches = [
                group.create_task(
                    _restart_after_crashes(child)
                    if restarts and child in functions
                    else _fail_after_crash(child)
                )
                for child in running.processes
            ]
            yield
            for watch in watches:
                watch.cancel()
    except BaseExceptionGroup as several:
        # What the block itself raised says more than the group around it.
        raise several.exceptions[0] from None


async def _fail_after_crash(child: ChildProcess) -> None:
    raise await child.crashed()


async def _restart_after_crashes(child: ChildProcess) -> None:
    while True:
        await child.crashed()
        await _restart(child)


async def _restart(child: ChildProcess) -> None:
    while True:
        try:
            await child.restart()
        except ProcessFailed:
            # One that is killed before it is ready has not crashed: its start has failed.
            await asyncio.sleep(_START_AGAIN_SECONDS)
        else:
            return


def _empty_logs(folder: Path) -> None:
    for log in folder.glob("*.log"):
        log.unlink()
