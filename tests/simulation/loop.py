"""An event loop without clock, thread or socket: time passes when nothing else can happen."""

import asyncio
import contextvars
import heapq
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from random import Random
from typing import Any, Protocol, TypeVar, TypeVarTuple

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

#: No simulated run needs this many callbacks: a run that takes more runs in circles.
MAX_CALLBACKS = 200_000


class Host(Protocol):
    """Something that runs tasks, and may stop doing so."""

    alive: bool
    #: The host runs nothing until this time, in virtual seconds.
    resumes_at: float


#: The host of the running task; None for the world around the processes.
HOST: contextvars.ContextVar[Host | None] = contextvars.ContextVar("host", default=None)


class RunsInCircles(Exception):
    """The run did not come to rest within a bounded number of callbacks."""


class _Handle(asyncio.TimerHandle):
    """A callback that knows its host."""

    __slots__ = ("host",)

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: "VirtualLoop",
        context: contextvars.Context | None,
    ) -> None:
        context = contextvars.copy_context() if context is None else context
        super().__init__(when, callback, args, loop, context)
        self.host = context.get(HOST)


class _Task(asyncio.Task[_T]):
    """A task whose place in a set does not depend on its address."""

    def __init__(self, work: Any, *, loop: "VirtualLoop", number: int, **options: Any) -> None:
        self._number = number
        super().__init__(work, loop=loop, **options)

    def __hash__(self) -> int:
        return self._number


class VirtualLoop(asyncio.AbstractEventLoop):
    """Runs callbacks in asyncio's own order, and jumps to the next timer when none is left.

    Timers of the same moment fire in an order that `random` decides. What belongs to a dead
    host is dropped, what belongs to a paused one waits for it.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._now = 0.0
        self._ready: deque[_Handle] = deque()
        self._timers: list[tuple[float, float, int, _Handle]] = []
        self._sequence = 0
        self._running = False
        self._tasks: list[asyncio.Task[Any]] = []
        #: The messages that a real loop would have logged.
        self.complaints: list[str] = []

    def time(self) -> float:
        """The virtual time, in seconds since the loop was made."""
        return self._now

    def run(self, until: Callable[[], bool], *, most: int = MAX_CALLBACKS) -> None:
        """Run until the condition holds, which is asked before every jump in time.

        Raises:
            RunsInCircles: it takes more callbacks than `most`.
        """
        asyncio._set_running_loop(self)
        self._running = True
        try:
            for _ in range(most):
                if not self._ready and (until() or not self._jump()):
                    return
                self._step(self._ready.popleft())
            raise RunsInCircles(f"{most} callbacks")
        finally:
            self._running = False
            asyncio._set_running_loop(None)

    def _step(self, handle: _Handle) -> None:
        host = handle.host
        if handle.cancelled() or (host is not None and not host.alive):
            return
        if host is not None and host.resumes_at > self._now:
            self._push(host.resumes_at, 0.0, handle)
        else:
            handle._run()
        # From 3.12 on the traceback of a failed task keeps this frame, so the frame must not
        # keep the task.
        del handle

    def _jump(self) -> bool:
        """Make the timers of the next moment ready; False when there are none."""
        while self._timers and self._timers[0][3].cancelled():
            heapq.heappop(self._timers)
        if not self._timers:
            return False
        self._now = max(self._now, self._timers[0][0])
        while self._timers and self._timers[0][0] <= self._now:
            self._ready.append(heapq.heappop(self._timers)[3])
        return True

    def _push(self, when: float, order: float, handle: _Handle) -> None:
        self._sequence += 1
        heapq.heappush(self._timers, (when, order, self._sequence, handle))

    def close(self) -> None:
        """Drop every task where it stands; none of them runs any further."""
        self._ready.clear()
        self._timers.clear()
        for task in self._tasks:
            if not task.done():
                _drop(task.get_coro())
        self._ready.clear()
        self._tasks.clear()

    def call_soon(
        self,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """As asyncio's."""
        handle = _Handle(self._now, callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """As asyncio's."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """As asyncio's."""
        handle = _Handle(when, callback, args, self, context)
        self._push(when, self._random.random(), handle)
        return handle

    def create_future(self) -> "asyncio.Future[Any]":
        """As asyncio's."""
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Coroutine[Any, Any, _T] | Generator[Any, None, _T], **options: Any
    ) -> asyncio.Task[_T]:
        """As asyncio's in any version; the loop keeps the task until it is closed."""
        task: _Task[_T] = _Task(coro, loop=self, number=len(self._tasks), **options)
        self._tasks.append(task)
        return task

    def run_in_executor(
        self, executor: Any, func: Callable[[*_Ts], _T], *args: *_Ts
    ) -> "asyncio.Future[_T]":
        """Do it at once, as there is no thread: that takes no time and no turn of the loop."""
        del executor
        done: asyncio.Future[_T] = asyncio.Future(loop=self)
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it is the answer
            done.set_exception(error)
        return done

    def get_debug(self) -> bool:
        """Never."""
        return False

    def is_running(self) -> bool:
        """Whether it is within `run`."""
        return self._running

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what a real loop would have logged."""
        error = context.get("exception")
        if error is not None:
            self.complaints.append(f"{context.get('message')}: {error!r}")

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Do nothing: a cancelled timer is skipped when its time comes."""


def make_loop(random: Random) -> VirtualLoop:
    """A loop; what it does not offer raises NotImplementedError, as asyncio's base does."""
    return VirtualLoop(random)  # type: ignore[abstract]


def _drop(work: Any) -> None:
    # A coroutine whose `finally` awaits refuses to be closed, once for each such await.
    for _ in range(10):
        try:
            work.close()
        except RuntimeError:
            continue
        return
