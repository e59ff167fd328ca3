"""Have the running stand-in for the model misbehave as a file says."""

import asyncio
from pathlib import Path

import httpx2

from infra.failures import CannotBeDone

_SECONDS = 10.0


class FaultsRefused(CannotBeDone):
    """The file holds no faults; the message says why."""


async def play_faults(stand_in_url: str, path: Path) -> None:
    """Put the faults in the file in force.

    Raises:
        FaultsRefused: it is no JSON list of faults.
        OSError: the file cannot be read.
    """
    rules = await asyncio.to_thread(path.read_bytes)
    async with httpx2.AsyncClient(trust_env=False, timeout=_SECONDS) as client:
        answer = await client.post(f"{stand_in_url}/control/faults", content=rules)
    if answer.is_error:
        raise FaultsRefused(f"{path}: {answer.json()['error']}")
