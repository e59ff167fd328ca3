"""Running a command's work to its end: signals, failures, exit codes."""

import asyncio
import signal
from collections.abc import Coroutine

import typer

from infra.ops.cli.terminal import say

_STOPPED_BY_SIGNAL = 130


def finish(work: Coroutine[None, None, int]) -> None:
    """Run to the end and leave with the returned exit code; SIGTERM ends as Ctrl-C does."""
    try:
        code = asyncio.run(_until_signal(work))
    except Exception as failure:
        # Imported late: the failures are defined in many modules, and seldom happen.
        from infra.ops.cli.failures import exit_code, words  # noqa: PLC0415

        known = exit_code(failure)
        if known is None:
            raise
        say(words(failure), err=True)
        code = known
    raise typer.Exit(code)


async def _until_signal(work: Coroutine[None, None, int]) -> int:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    stopped: list[int] = []

    def stop() -> None:
        # A second signal must not break the clean shutdown that the first began.
        if not stopped:
            stopped.append(_STOPPED_BY_SIGNAL)
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        return await task
    except asyncio.CancelledError:
        if not stopped:
            raise
        return _STOPPED_BY_SIGNAL
