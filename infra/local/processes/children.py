"""The child processes of the local environment, none of which outlives it.

Each child leads its own process group and writes to one log file. It is stopped with its
whole group when the block that started it ends for any reason: normally, by an exception, by
cancellation. On Linux it is also told to end when this process is killed outright.
"""

import asyncio
import os
import shutil
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2

from infra.failures import CannotBeDone
from infra.local.processes import tether

_POLL_SECONDS = 0.05
_PROBE_SECONDS = 2.0
_TAIL_BYTES = 4_096
# Probes speak plain HTTP to the loopback interface: loading the CA bundle would be all cost.
_NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class ProcessFailed(CannotBeDone):
    """A part of the local environment did not start, or ended by itself."""

    def __init__(self, name: str, reason: str, log_path: Path) -> None:
        self.name = name
        self.reason = reason
        self.log_path = log_path
        self.log_tail = tail(log_path)
        super().__init__(f"{name} {reason}; the end of {log_path}:\n{self.log_tail}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run, and how to know that it is up.

    `env` is the whole environment of the process. `ready` answers within a few seconds and
    does not raise; the process counts as started once it returns true.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    log_path: Path
    ready: Callable[[], Awaitable[bool]]
    ready_timeout_seconds: float = 30.0
    stop_timeout_seconds: float = 10.0


class ChildProcess:
    """One supervised process that can be started again after each stop or crash."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._end_is_wanted = False
        self._crash = asyncio.Event()

    @property
    def name(self) -> str:
        """The part's name in messages."""
        return self.command.name

    @property
    def pid(self) -> int:
        """Process id, which is the id of the process group too."""
        return self._started().pid

    @property
    def is_running(self) -> bool:
        """Whether the process was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start the process and return once it is ready.

        Raises:
            ProcessFailed: It cannot be run, ended early, or was not ready in time. Nothing
                is left running then.
        """
        if self.is_running:
            raise RuntimeError(f"{self.name} is running already")
        self._end_is_wanted = False
        self._crash.clear()
        self._process = await self._spawn()
        self._watch = asyncio.create_task(self._notice_end(self._process))
        try:
            await self._until_ready(self._process)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End the process and its group: politely, then by force. Harmless when ended."""
        if self._process is None:
            return
        self._end_is_wanted = True
        try:
            self._signal(signal.SIGTERM)
            async with asyncio.timeout(self.command.stop_timeout_seconds):
                await self._process.wait()
        except TimeoutError:
            pass
        finally:
            # Also what the process left behind in its group, also when this is canceled.
            self._signal(signal.SIGKILL)
        await self._process.wait()

    async def restart(self) -> None:
        """Stop the process if it still runs, and start it again with the same command."""
        await self.stop()
        await self.start()

    async def kill(self) -> None:
        """End the process as the kernel would for want of memory: this counts as a crash."""
        self._signal(signal.SIGKILL)
        await self.wait()

    async def wait(self) -> int:
        """Wait for the end of the process and return its exit code (negative: a signal)."""
        return await self._started().wait()

    async def crashed(self) -> ProcessFailed:
        """Wait until the process ends without having been told to, and say how it ended."""
        await self._crash.wait()
        return self._failure(f"ended by itself with code {self._started().returncode}")

    async def _spawn(self) -> asyncio.subprocess.Process:
        command = self.command
        program = shutil.which(command.argv[0], path=command.env.get("PATH"))
        command.log_path.parent.mkdir(parents=True, exist_ok=True)
        with command.log_path.open("ab") as log:
            if program is None:
                raise self._failure(f"cannot be run: there is no program {command.argv[0]}")
            return await asyncio.create_subprocess_exec(
                *tethered([program, *command.argv[1:]]),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=command.cwd,
                env=dict(command.env),
                start_new_session=True,
            )

    async def _until_ready(self, process: asyncio.subprocess.Process) -> None:
        try:
            async with asyncio.timeout(self.command.ready_timeout_seconds):
                while not await self.command.ready():
                    self._check_alive(process)
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            limit = self.command.ready_timeout_seconds
            raise self._failure(f"was not ready after {limit:g} seconds") from None
        # The answer may have come from another process.
        self._check_alive(process)

    def _check_alive(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is not None:
            raise self._failure(f"ended with code {process.returncode} before it was ready")

    async def _notice_end(self, process: asyncio.subprocess.Process) -> None:
        await process.wait()
        if not self._end_is_wanted:
            self._crash.set()

    def _signal(self, number: signal.Signals) -> None:
        # macOS answers with a permission error when the whole group has just ended.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def _started(self) -> asyncio.subprocess.Process:
        if self._process is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._process

    def _failure(self, reason: str) -> ProcessFailed:
        return ProcessFailed(self.name, reason, self.command.log_path)


@asynccontextmanager
async def running(command: Command) -> AsyncIterator[ChildProcess]:
    """Run the command, ready, for as long as the block lasts.

    Raises:
        ProcessFailed: See `ChildProcess.start`.
    """
    child = ChildProcess(command)
    try:
        await child.start()
        yield child
    finally:
        await child.stop()


def answers(url: str) -> Callable[[], Awaitable[bool]]:
    """Return a readiness probe: true once a GET of this loopback URL answers 2xx."""

    async def ready() -> bool:
        try:
            async with httpx2.AsyncClient(
                trust_env=False, timeout=_PROBE_SECONDS, verify=_NO_CERTIFICATES
            ) as client:
                return (await client.get(url)).is_success
        except httpx2.TransportError:
            return False

    return ready


def tail(log_path: Path) -> str:
    """Return the last lines of a log, at most 4 KiB, or a remark when there are none."""
    try:
        with log_path.open("rb") as log:
            log.seek(max(0, log_path.stat().st_size - _TAIL_BYTES))
            text = log.read().decode(errors="replace").strip()
    except FileNotFoundError:
        text = ""
    return text or "(it is empty)"


def tethered(argv: Sequence[str]) -> Sequence[str]:
    """The command, its life tied to this process where the system can."""
    if not sys.platform.startswith("linux"):
        return argv
    return [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *argv]
