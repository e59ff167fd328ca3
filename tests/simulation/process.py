"""A process: tasks that die together, with a clock of its own."""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from tests.simulation.loop import HOST, VirtualLoop

EPOCH = datetime(2026, 1, 5, 9, tzinfo=UTC)


#: What the processes of operators' command lines are called.
OPERATOR = "operator"


class Died:
    """The answer of a process that died."""


DIED: Final = Died()


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Request:
    """Something that a process is asked to do."""

    process: "Process"
    #: The result, the exception that was raised, or `DIED`.
    answer: "asyncio.Future[Any]"
    #: In virtual seconds.
    begun_at: float = 0.0


#: The request that the running task works on; None in the world around the processes.
REQUEST: contextvars.ContextVar[Request | None] = contextvars.ContextVar(
    "request", default=None
)


class Process:
    """Hosts tasks, and is the clock of what runs in it (implements the Clock port)."""

    def __init__(self, name: str, loop: VirtualLoop) -> None:
        self.name = name
        self.alive = True
        self.resumes_at = 0.0
        #: Whether the process was told to end: it then gets no more requests.
        self.retiring = False
        #: What is called when the process gets SIGTERM.
        self.on_terminate: Callable[[], object] = _ignore
        self._clock_offset = timedelta(0)
        self._loop = loop
        self._waiting: dict[asyncio.Future[Any], None] = {}
        self._context = contextvars.Context()
        self._context.run(HOST.set, self)
        self._highest_offset = timedelta(0)

    def start(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> "Request":
        """Run the work in this process."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        request = Request(process=self, answer=answer, begun_at=self._loop.time())
        self._waiting[answer] = None
        context = self._context.copy()
        context.run(REQUEST.set, request)
        self._loop.create_task(self._answer(work, answer), context=context)
        return request

    async def _answer(
        self, work: Callable[[], Coroutine[Any, Any, Any]], answer: "asyncio.Future[Any]"
    ) -> None:
        try:
            result = await work()
        except Exception as error:  # noqa: BLE001 -- the edge that the web server is elsewhere
            result = error
        self._settle(answer, result)

    def _settle(self, answer: "asyncio.Future[Any]", result: object) -> None:
        self._waiting.pop(answer, None)
        if not answer.done():
            answer.set_result(result)

    def crash(self) -> None:
        """Die: nothing of this process runs any more, not even its `finally` blocks."""
        self.alive = False
        for answer in list(self._waiting):
            self._settle(answer, DIED)

    def pause(self, seconds: float) -> None:
        """Run nothing for this long, as an instance without CPU or a stopped machine does."""
        self.resumes_at = self._loop.time() + seconds

    def terminate(self) -> None:
        """Take SIGTERM."""
        if self.alive and not self.retiring:
            self.retiring = True
            self._context.copy().run(self.on_terminate)

    def shift_clock(self, seconds: float) -> None:
        """Let the time of day jump."""
        self._clock_offset += timedelta(seconds=seconds)
        self._highest_offset = max(self._highest_offset, self._clock_offset)

    def now(self) -> datetime:
        """The time of day that this machine believes in."""
        return EPOCH + timedelta(seconds=self._loop.time()) + self._clock_offset

    def latest(self) -> datetime:
        """The latest time that this machine may have believed in until now."""
        return EPOCH + timedelta(seconds=self._loop.time()) + self._highest_offset

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        return self._loop.time()


def _ignore() -> None:
    """Do nothing at SIGTERM."""
