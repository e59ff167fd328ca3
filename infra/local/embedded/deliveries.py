"""At-least-once delivery within one process: what Eventarc and Pub/Sub push do over a wire."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryPolicy:
    """How often and how soon something refused is delivered again.

    The defaults are those of the local jobs subscription: 1 second at first, doubling, ten
    attempts in all.
    """

    concurrency: int = 8
    first_retry_seconds: float = 1.0
    longest_retry_seconds: float = 60.0
    max_attempts: int = 10

    def retry_delay(self, attempt: int) -> float:
        """Return the seconds to wait after this failed attempt (from 1)."""
        # The exponent is capped so that no float overflows; the delay is capped well before.
        full = self.first_retry_seconds * 2.0 ** min(attempt - 1, 64)
        return min(full, self.longest_retry_seconds)


class Deliveries(Generic[_T]):
    """Delivers items to one handler while its `async with` block lasts.

    `accept(item, attempt)` returns whether the item is settled; false, or an exception, asks
    for it again. What was refused `max_attempts` times is given to `give_up`. What is not
    settled when the block ends is dropped: use `idle()` before, where that matters.
    """

    def __init__(
        self,
        accept: Callable[[_T, int], Awaitable[bool]],
        *,
        policy: DeliveryPolicy,
        give_up: Callable[[_T], None],
    ) -> None:
        self.policy = policy
        self._accept = accept
        self._give_up = give_up
        self._room = asyncio.Semaphore(policy.concurrency)
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = False

    async def __aenter__(self) -> Self:
        self._open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open = False
        # A copy: each task takes itself out of the set when it ends.
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def busy(self) -> bool:
        """Whether anything is under way or waits to be delivered again."""
        return bool(self._tasks)

    def submit(self, item: _T) -> None:
        """Take an item for delivery.

        Raises:
            RuntimeError: the block has ended or not begun.
        """
        if not self._open:
            raise RuntimeError("deliveries are taken within the block alone")
        task = asyncio.create_task(self._deliver(item))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def idle(self) -> None:
        """Wait until nothing is under way, also not what the deliveries themselves caused."""
        while self._tasks:
            await asyncio.wait(list(self._tasks))

    async def _deliver(self, item: _T) -> None:
        for attempt in range(1, self.policy.max_attempts + 1):
            async with self._room:
                if await self._settled(item, attempt):
                    return
            if attempt < self.policy.max_attempts:
                await asyncio.sleep(self.policy.retry_delay(attempt))
        self._give_up(item)

    async def _settled(self, item: _T, attempt: int) -> bool:
        try:
            return await self._accept(item, attempt)
        except Exception:  # noqa: BLE001 - the edge that a web server is elsewhere
            _log.exception("attempt %d failed", attempt)
            return False
