"""The official emulators, run once for all tests of a process."""

import asyncio
import concurrent.futures
import os
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from infra.local.cloud.cloud_events import CloudEventMessage
from infra.local.emulators.clients import firestore_client
from infra.local.emulators.events import create_app, register_trigger
from infra.local.emulators.finding import Found
from infra.local.emulators.relay import Relay, RelayPolicy
from infra.local.emulators.servers import RunningEmulators, running_emulators
from infra.local.serving.asgi import serve

_START_SECONDS = 120.0
_STOP_SECONDS = 30.0
_IMPATIENT = RelayPolicy(first_retry_seconds=0.05, longest_retry_seconds=0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Route:
    """One test's relay, reached from the thread that the emulator talks to."""

    loop: asyncio.AbstractEventLoop
    relay: Relay

    def submit(self, message: CloudEventMessage) -> bool:
        self.loop.call_soon_threadsafe(self.relay.submit, message)
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class _Routes:
    """The server the emulator delivers to: events go to the relay of their project."""

    by_project: dict[str, _Route] = field(default_factory=dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        # /functions/projects/{project}/triggers/{trigger}
        project = scope["path"].split("/")[3]
        route = self.by_project.get(project, _Nowhere())
        await create_app(route)(scope, receive, send)


class _Nowhere:
    """Takes late events of tests that ended."""

    def submit(self, message: CloudEventMessage) -> bool:
        del message
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulators:
    """The running emulators, each at host:port, shared by all tests of one process."""

    firestore_host: str
    pubsub_host: str
    #: False for a Firestore emulator that somebody else started.
    delivers_events: bool
    _routes: _Routes

    @property
    def environ(self) -> Mapping[str, str]:
        """The variables by which the client libraries find the emulators."""
        return {
            "FIRESTORE_EMULATOR_HOST": self.firestore_host,
            "PUBSUB_EMULATOR_HOST": self.pubsub_host,
        }

    @asynccontextmanager
    async def events_to(
        self,
        url: str,
        *,
        project: str,
        collection: str = "flow_runs",
        policy: RelayPolicy = _IMPATIENT,
    ) -> AsyncIterator[Relay]:
        """Have the collection's events delivered to `url` as production does, in this block.

        A project has one such block at a time. Skips the test when the emulator was started
        by somebody else and was not told where to deliver.
        """
        if not self.delivers_events:
            pytest.skip("the Firestore emulator named by the environment delivers no events")
        async with Relay(url, policy=policy) as relay:
            loop = asyncio.get_running_loop()
            self._routes.by_project[project] = _Route(loop=loop, relay=relay)
            try:
                await register_trigger(self.firestore_host, project, collection=collection)
                yield relay
            finally:
                del self._routes.by_project[project]


def in_thread(found: Found, log_folder: Path) -> Iterator[Emulators]:
    """Run them in a thread of their own."""
    # Tests have an event loop each, so what outlives a test needs one of its own.
    started: concurrent.futures.Future[tuple[Emulators, _Stop]] = concurrent.futures.Future()

    def work() -> None:
        try:
            asyncio.run(_keep_running(found, log_folder, started))
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=work, name="emulators")
    thread.start()
    try:
        emulators, stop = started.result(timeout=_START_SECONDS)
    except BaseException:
        thread.join(_STOP_SECONDS)
        raise
    try:
        yield emulators
    finally:
        stop.loop.call_soon_threadsafe(stop.wanted.set)
        thread.join(_STOP_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stop:
    loop: asyncio.AbstractEventLoop
    wanted: asyncio.Event


async def _warm_up(firestore_host: str) -> None:
    """Make the first commit and read, which take half a minute on a busy machine."""
    client = firestore_client(firestore_host, "warm-up")
    try:
        document = client.collection("warm").document("up")
        await document.set({"warm": True}, timeout=_START_SECONDS)
        await document.get(timeout=_START_SECONDS)
    finally:
        client.close()  # type: ignore[no-untyped-call]


async def _keep_running(
    found: Found,
    log_folder: Path,
    started: concurrent.futures.Future[tuple[Emulators, _Stop]],
) -> None:
    routes = _Routes()
    stop = _Stop(loop=asyncio.get_running_loop(), wanted=asyncio.Event())
    async with (
        serve(routes, name="event routes") as url,
        running_emulators(
            found,
            log_folder=log_folder,
            environ=os.environ,
            events_address=url.removeprefix("http://"),
        ) as running,
    ):
        await _warm_up(running.firestore_host)
        started.set_result((_emulators(running, routes), stop))
        await stop.wanted.wait()


def _emulators(running: RunningEmulators, routes: _Routes) -> Emulators:
    return Emulators(
        firestore_host=running.firestore_host,
        pubsub_host=running.pubsub_host,
        delivers_events=running.delivers_events,
        _routes=routes,
    )
