"""What tests of several folders share: the official emulators, and a project of one's own."""

import asyncio
import concurrent.futures
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis
import pytest
from starlette.types import Receive, Scope, Send

from infra.local.cloud_events import CloudEventMessage
from infra.local.emulator_events import create_app, register_trigger
from infra.local.emulator_servers import RunningEmulators, running_emulators
from infra.local.emulators import Found, Missing, find_emulators
from infra.local.relay import Relay, RelayPolicy
from infra.local.serve import serve

# A loaded machine is slow, and no test is about time: only wrong answers may fail a property.
hypothesis.settings.register_profile(
    "patient",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    print_blob=True,
)
hypothesis.settings.load_profile("patient")

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


@pytest.fixture
def project_id() -> str:
    """Return a project that no other test uses, which isolates documents and triggers."""
    return f"test-{os.getpid()}-{time.time_ns()}"


@pytest.fixture(scope="session")
def emulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulators]:
    """Run both emulators once per process; skip without them, or fail when CI is set."""
    match find_emulators(os.environ, Path.home()):
        case Missing(reasons=reasons):
            _report_missing("; ".join(reasons))
        case Found() as found:
            yield from _in_thread(found, tmp_path_factory.mktemp("emulators"))


def _report_missing(reasons: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"CI needs the emulators: {reasons}", pytrace=False)
    pytest.skip(reasons)


def _in_thread(found: Found, log_folder: Path) -> Iterator[Emulators]:
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
        started.set_result((_emulators(running, routes), stop))
        await stop.wanted.wait()


def _emulators(running: RunningEmulators, routes: _Routes) -> Emulators:
    return Emulators(
        firestore_host=running.firestore_host,
        pubsub_host=running.pubsub_host,
        delivers_events=running.delivers_events,
        _routes=routes,
    )
