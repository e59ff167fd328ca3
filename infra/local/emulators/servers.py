"""Run the emulators that were found, each directly as its own Java process.

The wrappers that ship with them are not used: killing one leaves its Java running.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.failures import CannotBeDone
from infra.local.emulators.finding import Emulator, Found, JarCommand, RunningAt
from infra.local.processes.children import ChildProcess, Command, ProcessFailed, answers
from infra.local.serving.free_ports import LOOPBACK, free_port, is_free

#: Enough for a thousand flow runs; a fresh emulator takes 116 MB in all.
HEAP_MEBIBYTES = 192
_JVM_FLAGS = ("-XX:+UseSerialGC", "-Duser.language=en")
# Otherwise Java posts a push again by itself when the endpoint dies in mid-request, on top of
# the retries that the subscription asks for.
_NO_SILENT_RETRY = "-Dsun.net.http.retryPost=false"
_READY_SECONDS = 60.0
_STOP_SECONDS = 5.0
_PORT_DRAWS = 3


_Argv = Callable[[JarCommand, int], Sequence[str]]


class EmulatorUnreachable(CannotBeDone):
    """An emulator that the environment names does not answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningEmulators:
    """Where the emulators answer (host:port), and the processes that were started for it."""

    firestore_host: str
    pubsub_host: str
    processes: tuple[ChildProcess, ...]
    #: Whether the Firestore emulator was told where to deliver events. One that the user
    #: started was not: its changes are had from `listener`.
    delivers_events: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    log_folder: Path
    environ: Mapping[str, str]

    def command(self, name: str, argv: Sequence[str], port: int) -> Command:
        return Command(
            name=name,
            argv=argv,
            env=self.environ,
            cwd=self.log_folder,
            log_path=self.log_folder / f"{name}.log",
            ready=answers(f"http://{LOOPBACK}:{port}/"),
            ready_timeout_seconds=_READY_SECONDS,
            stop_timeout_seconds=_STOP_SECONDS,
        )


@asynccontextmanager
async def running_emulators(
    found: Found,
    *,
    log_folder: Path,
    environ: Mapping[str, str],
    events_address: str | None = None,
    heap_mebibytes: int = HEAP_MEBIBYTES,
) -> AsyncIterator[RunningEmulators]:
    """Run both emulators, ready, for as long as the block lasts; logs go to `log_folder`.

    `events_address` is the host:port to which the Firestore emulator delivers document
    events, once a trigger is registered with it (see `events`). It keeps all documents
    within `heap_mebibytes`.

    Raises:
        ProcessFailed: An emulator did not start.
        EmulatorUnreachable: One that the user runs does not answer.
    """
    place = _Place(log_folder=log_folder, environ=environ)
    children: list[ChildProcess] = []
    try:
        # Started at the same time, and each awaited: none may be left half started.
        hosts = await asyncio.gather(
            _start(
                "firestore-emulator",
                found.firestore,
                _firestore(events_address, heap_mebibytes),
                place,
                children,
            ),
            _start("pubsub-emulator", found.pubsub, _pubsub, place, children),
            return_exceptions=True,
        )
        firestore_host, pubsub_host = (_host(result) for result in hosts)
        yield RunningEmulators(
            firestore_host=firestore_host,
            pubsub_host=pubsub_host,
            processes=tuple(children),
            delivers_events=events_address is not None
            and isinstance(found.firestore, JarCommand),
        )
    finally:
        await asyncio.gather(*(child.stop() for child in children))


def _host(result: str | BaseException) -> str:
    if isinstance(result, BaseException):
        raise result
    return result


async def _start(
    name: str, emulator: Emulator, argv: _Argv, place: _Place, children: list[ChildProcess]
) -> str:
    """Return the emulator's host:port once it answers; a process goes to `children`."""
    match emulator:
        case RunningAt(host=host):
            return await _reached(name, host)
        case JarCommand():
            child, port = await _on_free_port(
                lambda port: place.command(name, argv(emulator, port), port)
            )
            children.append(child)
            return f"{LOOPBACK}:{port}"


async def _reached(name: str, host: str) -> str:
    if await answers(f"http://{host}/")():
        return host
    raise EmulatorUnreachable(
        f"the environment says that a {name} runs at {host}; none answers"
    )


async def _on_free_port(command: Callable[[int], Command]) -> tuple[ChildProcess, int]:
    """Start the command on a free port, on another one if the port is taken meanwhile."""
    for draws_left in reversed(range(_PORT_DRAWS)):
        port = free_port()
        child = ChildProcess(command(port))
        try:
            await child.start()
        except ProcessFailed:
            # A port that is free now was not what the failure was about.
            if is_free(port) or draws_left == 0:
                raise
        else:
            return child, port
    raise AssertionError("the last draw returns or raises")


def _firestore(events_address: str | None, heap_mebibytes: int) -> _Argv:
    events = () if events_address is None else ("--functions_emulator", events_address)

    def argv(command: JarCommand, port: int) -> Sequence[str]:
        java = _java(command, f"-Xmx{heap_mebibytes}m")
        return (*java, "--host", LOOPBACK, "--port", str(port), *events)

    return argv


def _pubsub(command: JarCommand, port: int) -> Sequence[str]:
    java = _java(command, f"-Xmx{HEAP_MEBIBYTES}m", _NO_SILENT_RETRY)
    return (*java, f"--host={LOOPBACK}", f"--port={port}")


def _java(command: JarCommand, *flags: str) -> Sequence[str]:
    return (
        str(command.java),
        *_JVM_FLAGS,
        *flags,
        *("-cp", str(command.jar), command.main_class),
    )
