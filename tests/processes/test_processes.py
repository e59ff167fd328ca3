"""No child process outlives the process that started it."""

import asyncio
import os
import signal
import sys
import textwrap
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from infra.local.processes.children import ChildProcess, Command, ProcessFailed, running, tail

_REPOSITORY = Path(__file__).resolve().parents[2]
_PATIENCE_SECONDS = 20.0
_POLL_SECONDS = 0.02
_POLLS = 1_000
#: A parent with one child in its group; both ids go to a file once both run.
_FAMILY = """
    import os, subprocess, sys, time
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(120)"])
    with open("pids.part", "w") as pids:
        pids.write(f"{os.getpid()} {child.pid}")
    os.rename("pids.part", "pids")
    time.sleep(120)
"""
_DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"


def _command(folder: Path, script: str = _FAMILY) -> Command:
    async def ready() -> bool:
        return (folder / "pids").exists()

    return Command(
        name="part",
        argv=[sys.executable, "-c", textwrap.dedent(script)],
        env=os.environ,
        cwd=folder,
        log_path=folder / "logs" / "part.log",
        ready=ready,
        stop_timeout_seconds=5.0,
    )


def _pids(folder: Path) -> tuple[int, ...]:
    return tuple(int(pid) for pid in (folder / "pids").read_text().split())


def _is_alive(pid: int) -> bool:
    """Whether the process runs; an ended process that nobody has waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


async def _until(claim: Callable[[], bool]) -> None:
    for _ in range(_POLLS):
        if claim():
            return
        await asyncio.sleep(_POLL_SECONDS)
    pytest.fail("it never became true")


async def _all_gone(folder: Path) -> None:
    await _until(lambda: not any(_is_alive(pid) for pid in _pids(folder)))


needs_proc = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="reads the process table of Linux"
)
pytestmark = needs_proc


async def test_a_stop_ends_the_process_and_its_children(tmp_path: Path) -> None:
    async with running(_command(tmp_path)) as child:
        assert child.is_running
        assert _pids(tmp_path)[0] == child.pid

    await _all_gone(tmp_path)
    assert not child.is_running


async def test_a_process_that_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    command = _command(tmp_path, _DEAF + textwrap.dedent(_FAMILY))

    async with running(replace(command, stop_timeout_seconds=0.2)) as child:
        pass

    assert await child.wait() == -signal.SIGKILL
    await _all_gone(tmp_path)


async def test_an_error_in_the_block_leaves_nothing_running(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        async with running(_command(tmp_path)):
            raise ZeroDivisionError

    await _all_gone(tmp_path)


async def test_a_cancellation_leaves_nothing_running(tmp_path: Path) -> None:
    async def work() -> None:
        async with running(_command(tmp_path)):
            await asyncio.sleep(_PATIENCE_SECONDS)

    await _cancel_once(tmp_path, work)

    await _all_gone(tmp_path)


async def test_a_cancellation_during_the_start_leaves_nothing_running(tmp_path: Path) -> None:
    async def never() -> bool:
        await asyncio.sleep(0)
        return False

    async def work() -> None:
        await ChildProcess(replace(_command(tmp_path), ready=never)).start()

    await _cancel_once(tmp_path, work)

    await _all_gone(tmp_path)


async def _cancel_once(folder: Path, work: Callable[[], Awaitable[None]]) -> None:
    task = asyncio.ensure_future(work())
    await _until((folder / "pids").exists)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_second_cancellation_during_the_stop_leaves_nothing_running(
    tmp_path: Path,
) -> None:
    async with running(_command(tmp_path, _DEAF + textwrap.dedent(_FAMILY))) as child:
        stopping = asyncio.create_task(child.stop())
        await asyncio.sleep(0.1)
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping

        await _all_gone(tmp_path)


async def test_a_crash_is_reported_with_the_end_of_the_log(tmp_path: Path) -> None:
    async with running(_command(tmp_path, "print('so far', flush=True)\n" + _ready())) as child:
        crash = asyncio.create_task(child.crashed())
        await child.kill()

        failure = await asyncio.wait_for(crash, _PATIENCE_SECONDS)

    assert failure.reason == "ended by itself with code -9"
    assert failure.log_tail == "so far"
    assert failure.log_path == tmp_path / "logs/part.log"


def _ready() -> str:
    return "open('pids', 'w').close()\nimport time; time.sleep(120)"


async def test_what_a_crashed_process_leaves_behind_is_ended_too(tmp_path: Path) -> None:
    async with running(_command(tmp_path)) as child:
        await child.kill()

    await _all_gone(tmp_path)


async def test_a_wanted_end_is_no_crash(tmp_path: Path) -> None:
    child = ChildProcess(_command(tmp_path))
    await child.start()
    crash = asyncio.create_task(child.crashed())

    await child.stop()
    await asyncio.sleep(0.1)

    assert not crash.done()
    crash.cancel()


async def test_a_restart_is_another_process_with_the_same_log(tmp_path: Path) -> None:
    script = "print('hello', flush=True)\n" + _ready()
    async with running(_command(tmp_path, script)) as child:
        first = child.pid
        await _until(lambda: tail(child.command.log_path) == "hello")
        await child.restart()

        assert child.pid != first
        await _until(lambda: tail(child.command.log_path) == "hello\nhello")


async def test_a_process_that_ends_early_says_why(tmp_path: Path) -> None:
    with pytest.raises(ProcessFailed, match=r"code 3 before it was ready") as caught:
        await ChildProcess(_command(tmp_path, "import sys; print('no'); sys.exit(3)")).start()

    assert caught.value.log_tail == "no"


async def test_a_process_that_is_never_ready_is_ended(tmp_path: Path) -> None:
    async def family_runs_but_never() -> bool:
        await asyncio.sleep(0)
        return False

    command = replace(
        _command(tmp_path), ready=family_runs_but_never, ready_timeout_seconds=1.5
    )

    with pytest.raises(ProcessFailed, match=r"was not ready after 1\.5 seconds"):
        await ChildProcess(command).start()

    await _all_gone(tmp_path)


async def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProcessFailed, match="there is no program no-such-program"):
        await ChildProcess(replace(_command(tmp_path), argv=["no-such-program"])).start()


async def test_a_parent_that_is_killed_outright_takes_its_child_along(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _PARENT, cwd=tmp_path, env=_with_repository()
    )
    try:
        await _until((tmp_path / "pids").exists)
    finally:
        with suppress(ProcessLookupError):
            parent.kill()
        await parent.wait()

    await _all_gone(tmp_path)


#: Starts one child through the code under test and then does nothing.
_PARENT = """\
import asyncio, os, pathlib, sys
from infra.local.processes.children import Command, running

here = pathlib.Path.cwd()
child = '''
import os, time
with open("pids.part", "w") as pids:
    pids.write(str(os.getpid()))
os.rename("pids.part", "pids")
time.sleep(120)
'''

async def ready():
    return (here / "pids").exists()

async def main():
    command = Command(
        name="part", argv=[sys.executable, "-c", child], env=os.environ, cwd=here,
        log_path=here / "part.log", ready=ready,
    )
    async with running(command):
        await asyncio.sleep(120)

asyncio.run(main())
"""


def _with_repository() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(_REPOSITORY)}


def test_a_log_that_is_not_there_has_an_empty_tail(tmp_path: Path) -> None:
    assert tail(tmp_path / "none.log") == "(it is empty)"


def test_a_tail_is_the_last_four_kibibytes(tmp_path: Path) -> None:
    log = tmp_path / "long.log"
    log.write_bytes(b"a" * 5_000 + b"end")

    assert tail(log) == "a" * 4_093 + "end"
