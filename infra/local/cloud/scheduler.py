"""What Cloud Scheduler does: call something again and again."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import httpx2

_log = logging.getLogger(__name__)

#: Production sweeps once a minute; here somebody is watching.
SWEEP_EVERY_SECONDS = 5.0
_ANSWER_SECONDS = 60.0


@asynccontextmanager
async def scheduled(
    act: Callable[[], Awaitable[object]], *, every_seconds: float
) -> AsyncIterator[None]:
    """Act every so many seconds, never twice at once, for as long as the block lasts.

    What fails is logged, and done again at its next time.
    """
    task = asyncio.create_task(_again_and_again(act, every_seconds))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _again_and_again(act: Callable[[], Awaitable[object]], every_seconds: float) -> None:
    while True:
        await asyncio.sleep(every_seconds)
        try:
            await act()
        except Exception:  # noqa: BLE001 - the edge that the scheduler's own log is elsewhere
            _log.warning("a scheduled call failed", exc_info=True)


async def post(url: str) -> int:
    """Post to the URL without a body; the status of the answer.

    Raises:
        httpx2.TransportError: no answer within a minute.
    """
    async with httpx2.AsyncClient(trust_env=False, timeout=_ANSWER_SECONDS) as client:
        return (await client.post(url)).status_code
