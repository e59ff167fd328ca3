"""What every operation of every process goes through."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any, NoReturn, TypeVar, cast

from tests.simulation.loop import VirtualLoop
from tests.simulation.nemesis import Fault, Kind, Nemesis
from tests.simulation.process import REQUEST, Process

_T = TypeVar("_T")

_LATE_SECONDS = (1.0, 200.0)
_PAUSE_SECONDS = (5.0, 300.0)
_CLOCK_SECONDS = (5.0, 180.0)
#: How long a refusal for good may last until somebody mends what is wrong.
_FORBIDDEN_SECONDS = ((30.0, 300.0), (300.0, 1500.0))
#: How much longer than its timeout an operation may last (see `shared.ports`).
_OVERTIME_SECONDS = 0.5
#: The time that Cloud Run gives an instance between SIGTERM and SIGKILL
#: (https://cloud.google.com/run/docs/container-contract#instance-shutdown).
GRACE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a trace."""

    seconds: float
    number: int | None
    who: str
    what: str
    fault: Fault | None = None

    def __str__(self) -> str:
        number = "" if self.number is None else str(self.number)
        line = f"{self.seconds:10.3f} {number:>5} {self.who:<14} {self.what}"
        return f"{line}   <-- {self.fault}" if self.fault else line


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One operation of a process on a port."""

    process: Process
    kind: Kind
    target: str
    timeout_seconds: float
    #: What the caller is told when it is known that nothing happened; see `unanswered`.
    refused: Exception
    #: What the caller is told when nobody knows what happened.
    unanswered: Exception
    #: What the caller is told while the port refuses it for good.
    forbidden: Exception
    #: What the caller is told when the client's own second try finds that the first one did the
    #: work.
    done_before: Exception | None = None
    #: What happens at the very beginning, unless the process has died before.
    begin: Callable[[], None] = lambda: None
    #: How many seconds the work itself takes, beside the way there and back.
    work_seconds: float = 0.0
    #: Another kind, whose refusals for good also hold for this operation.
    shares: Kind | None = None
    #: What happens instead under faults that only this port has.
    instead: Mapping[Fault, Callable[[], Awaitable[Any]]] = field(default_factory=dict)


class World:
    """Counts and traces the operations, and lets the nemesis interfere with each."""

    def __init__(self, loop: VirtualLoop, nemesis: Nemesis, *, traced: bool) -> None:
        self.loop = loop
        self.nemesis = nemesis
        #: The kind of each operation so far.
        self.kinds: list[Kind] = []
        #: When the last fault had its last effect, in virtual seconds.
        self.calm_since = 0.0
        #: Until when the operations of each kind are refused for good, in virtual seconds.
        self._forbidden_until: dict[Kind, float] = {}
        self.trace: list[Entry] = []
        self._traced = traced

    def note(
        self, who: str, what: str, *, number: int | None = None, fault: Fault | None = None
    ) -> None:
        """Add a line to the trace."""
        if self._traced:
            self.trace.append(Entry(self.loop.time(), number, who, what, fault))

    def next_fault(self, kind: Kind, who: str, what: str) -> tuple[int, Fault | None]:
        """Count one more operation; return its number, and what goes wrong with it."""
        number = len(self.kinds)
        self.kinds.append(kind)
        fault = self.nemesis.fault(number, kind)
        if fault is not None:
            self.disturbed()
        self.note(who, f"{kind} {what}", number=number, fault=fault)
        return number, fault

    def disturbed(self, *, for_seconds: float = 0.0) -> None:
        """Note that a fault has its effects until this many seconds from now."""
        self.calm_since = max(self.calm_since, self.loop.time() + for_seconds)

    async def perform(self, call: Call, apply: Callable[[], Awaitable[_T]]) -> _T:
        """Do one operation, as far as the nemesis lets it.

        `apply` has its effect at one moment: it never waits.
        """
        number, fault = self.next_fault(call.kind, call.process.name, call.target)
        if fault is Fault.FORBIDDEN:
            self._forbid(call.kind, self.nemesis.details(number))
        if fault is Fault.FORBIDDEN or (fault is None and self._forbidden(call)):
            call.begin()
            await asyncio.sleep(self.nemesis.latency())
            raise call.forbidden
        if fault is None:
            return await self._undisturbed(call, apply)
        return await self._disturbed(call, apply, number, fault)

    async def _undisturbed(self, call: Call, apply: Callable[[], Awaitable[_T]]) -> _T:
        call.begin()
        await asyncio.sleep(self.nemesis.latency() + call.work_seconds)
        result = await apply()
        await asyncio.sleep(self.nemesis.latency())
        return result

    async def _disturbed(
        self, call: Call, apply: Callable[[], Awaitable[_T]], number: int, fault: Fault
    ) -> _T:
        draw = self.nemesis.details(number)
        if fault is Fault.CRASH_BEFORE:
            await self._die(call)
        call.begin()
        if fault is Fault.REFUSED:
            await asyncio.sleep(self.nemesis.latency())
            raise call.refused
        if fault is Fault.LATE:
            self._apply_later(apply, call.timeout_seconds + draw.uniform(*_LATE_SECONDS))
            await asyncio.sleep(call.timeout_seconds)
            raise call.unanswered
        if fault is Fault.OVERDUE:
            return await self._overdue(call, apply, draw)
        self._disturb_process(call.process, fault, draw)
        await asyncio.sleep(self.nemesis.latency() + call.work_seconds)
        result = await call.instead.get(fault, apply)()
        await self._disturb_answer(call, fault, draw)
        await asyncio.sleep(self.nemesis.latency())
        return cast("_T", result)

    def _forbid(self, kind: Kind, draw: Random) -> None:
        shortest, longest = draw.choice((*_FORBIDDEN_SECONDS, (0.0, 0.0)))
        seconds = draw.uniform(shortest, longest)
        self._forbidden_until[kind] = self.loop.time() + seconds
        self.disturbed(for_seconds=seconds)

    def _forbidden(self, call: Call) -> bool:
        kinds = {call.kind, call.shares or call.kind}
        return any(self.loop.time() < self._forbidden_until.get(kind, 0.0) for kind in kinds)

    async def _overdue(
        self, call: Call, apply: Callable[[], Awaitable[_T]], draw: Random
    ) -> _T:
        """Do the operation at some time, and answer at about the caller's timeout."""
        answered_after = call.timeout_seconds + draw.uniform(-0.1, _OVERTIME_SECONDS)
        outcome: list[_T | Exception] = []

        async def act() -> None:
            try:
                outcome.append(await apply())
            except Exception as error:  # noqa: BLE001 - the caller's, if it still waits
                outcome.append(error)

        self.disturbed(for_seconds=answered_after)
        # A request under way is carried out even when its caller dies, or no longer waits.
        self._outside(
            draw.uniform(0.1, 0.99) * answered_after, lambda: self.loop.create_task(act())
        )
        await asyncio.sleep(answered_after)
        [answer] = outcome or [call.unanswered]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _disturb_process(self, process: Process, fault: Fault, draw: Random) -> None:
        if fault is Fault.CLOCK_FORWARD:
            process.shift_clock(draw.uniform(*_CLOCK_SECONDS))
        elif fault is Fault.CLOCK_BACK:
            process.shift_clock(-draw.uniform(*_CLOCK_SECONDS))
        elif fault is Fault.TERMINATE:
            self._terminate(process)

    async def _disturb_answer(self, call: Call, fault: Fault, draw: Random) -> None:
        """Let things go wrong between the effect and the moment when the caller hears of it."""
        if fault is Fault.CRASH_AFTER:
            await self._die(call)
        elif fault is Fault.LOST_ANSWER:
            self.disturbed()
            await asyncio.sleep(self.nemesis.latency())
            raise call.unanswered
        elif fault is Fault.OWN_RETRY and call.done_before is not None:
            await asyncio.sleep(self.nemesis.latency())
            raise call.done_before
        elif fault is Fault.SLOW:
            seconds = max(0.0, 0.9 * call.timeout_seconds - call.work_seconds)
            self.disturbed(for_seconds=seconds)
            await asyncio.sleep(seconds)
        elif fault is Fault.PAUSE:
            self._pause(call.process, draw.uniform(*_PAUSE_SECONDS))

    async def _die(self, call: Call) -> NoReturn:
        self.note(call.process.name, "dies")
        self.disturbed()
        call.process.crash()
        await self.loop.create_future()
        raise AssertionError("a dead process goes on")

    def _terminate(self, process: Process) -> None:
        self.note(process.name, "gets SIGTERM")
        self.disturbed(for_seconds=GRACE_SECONDS)
        process.terminate()
        self._outside(GRACE_SECONDS, process.crash)

    def _pause(self, process: Process, seconds: float) -> None:
        self.note(process.name, f"stops for {seconds:.0f} s")
        self.disturbed(for_seconds=seconds)
        process.pause(seconds)

    def _apply_later(self, apply: Callable[[], Awaitable[object]], seconds: float) -> None:
        self.disturbed(for_seconds=seconds)

        def now() -> None:
            self.loop.create_task(_ignoring(apply))

        self._outside(seconds, now)

    def _outside(self, seconds: float, act: Callable[[], object]) -> None:
        # This runs in the context of no process: it happens even if the present one dies.
        context = contextvars.Context()
        context.run(REQUEST.set, REQUEST.get())
        self.loop.call_later(seconds, act, context=context)


async def _ignoring(apply: Callable[[], Awaitable[object]]) -> None:
    # Nobody is left who could be told how it went.
    try:
        await apply()
    except Exception:  # noqa: BLE001
        return
