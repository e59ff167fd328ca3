"""Runs gcloud, and waits where Google Cloud does not show yet what it has just made."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from infra.failures import CannotBeDone
from infra.ops.bootstrap.plan import Command

#: What the error says where an API, an account or a policy was made a moment ago.
_NOT_YET = (
    "SERVICE_DISABLED",
    "has not been used in project",
    "does not exist",
    "concurrent policy changes",
)
#: It takes up to a few minutes until others can use what was made.
_PAUSES_SECONDS = (5.0, 10.0, 20.0, 40.0, 60.0, 60.0)

Sleep = Callable[[float], Awaitable[None]]


class GcloudFailed(CannotBeDone):
    """A gcloud command failed; the message is gcloud's own."""


class Gcloud:
    """The gcloud command line, as it is on the PATH and signed in."""

    def __init__(self, sleep: Sleep = asyncio.sleep) -> None:
        self._sleep = sleep

    async def look(self, command: Command) -> Any:
        """What a command shows, as JSON.

        Raises:
            GcloudFailed: it failed, and not because something was too new.
        """
        return json.loads(await self._patiently((*command, "--format", "json")) or "null")

    async def change(self, command: Command) -> None:
        """Run a command whose output does not matter.

        Raises:
            GcloudFailed: it failed, and not because something was too new.
        """
        await self._patiently((*command, "--format", "none"))

    async def _patiently(self, command: Command) -> str:
        for pause in _PAUSES_SECONDS:
            try:
                return await _run(command)
            except GcloudFailed as failure:
                if not any(reason in str(failure) for reason in _NOT_YET):
                    raise
            await self._sleep(pause)
        return await _run(command)


async def _run(command: Command) -> str:
    try:
        # --quiet: no question is asked that nobody would answer.
        process = await asyncio.create_subprocess_exec(
            "gcloud",
            *command,
            "--quiet",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except FileNotFoundError:
        raise GcloudFailed(
            "gcloud is not on the PATH: https://cloud.google.com/sdk/docs/install"
        ) from None
    out, problem = await process.communicate()
    if process.returncode:
        raise GcloudFailed(problem.decode(errors="replace").strip())
    return out.decode()
