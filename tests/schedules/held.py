"""A world in which every operation on a port waits until it is chosen."""

import asyncio
import contextvars
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from random import Random
from typing import TypeVar, TypeVarTuple

from tests.simulation.loop import Host, VirtualLoop, _Handle
from tests.simulation.nemesis import APPLICABLE, CALM, Fault, Kind, Nemesis
from tests.simulation.process import Process
from tests.simulation.world import Call, World

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

#: The shortest wait that matters. Jitter between two tries is shorter; it is followed by an
#: operation, whose place in the order is enumerated anyway. The pause between two looks for an
#: answer is longer.
SHORTEST_WAIT_SECONDS = 0.4

#: Objects and documents that nobody writes after the run was created. Reading them commutes
#: with every operation, so the order of such a read is no choice.
_NEVER_WRITTEN = ("inputs/", "llm_prompts/", "llm_schemas/")
#: Operations that change nothing: whether a process dies before or after one is the same to all
#: others.
_LOOKS = frozenset({Kind.READ, Kind.QUERY, Kind.STAT, Kind.FETCH, Kind.ASK, Kind.PULL})
#: Operations whose beginning is an effect by itself: a model call may be billed.
_CALLS = frozenset({Kind.GENERATE, Kind.BEGIN})


class Steady(Random):
    """Draws the same number each time."""

    def __init__(self, draw: float = 0.5) -> None:
        super().__init__(0)
        self._draw = draw

    def random(self) -> float:
        """See `Random.random`."""
        return self._draw


class Outcome(StrEnum):
    """How a chosen operation goes."""

    DONE = "done"
    CRASH_BEFORE = "crash_before"
    CRASH_AFTER = "crash_after"
    LOST_ANSWER = "lost_answer"
    REFUSED = "refused"  #: The operation does not happen, and the caller is told so.


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pending:
    """An operation that waits to be chosen."""

    call: Call
    issued_at: float
    decision: "asyncio.Future[Outcome]"
    #: Whether the process came to it straight from an operation before, without a wait.
    follows: bool

    @property
    def faults(self) -> Sequence[Outcome]:
        """The ways in which it can go wrong, as far as they matter to the order of things.

        To die before an operation is to die after the one before it, or before that one if it
        changes nothing, and leaves the others no less to do.
        """
        faults = []
        if not self.follows or self.call.kind in _CALLS:
            faults.append(Outcome.CRASH_BEFORE)
        if self.call.kind not in _LOOKS:
            faults += [Outcome.CRASH_AFTER, Outcome.REFUSED]
        if Fault.LOST_ANSWER in APPLICABLE[self.call.kind]:
            faults.append(Outcome.LOST_ANSWER)
        return faults


class HeldLoop(VirtualLoop):
    """A virtual loop whose time moves only when told, and whose processes can be stopped."""

    def __init__(self) -> None:
        super().__init__(Steady())
        self.stopped: dict[Host, list[_Handle]] = {}

    def call_at(
        self,
        when: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """As `VirtualLoop.call_at`, but a wait too short to matter counts as none."""
        if when - self._now >= SHORTEST_WAIT_SECONDS:
            return super().call_at(when, callback, *args, context=context)
        handle = _Handle(self._now, callback, args, self, context)
        self._ready.append(handle)
        return handle

    def settle(self) -> None:
        """Run until nothing can go on without a chosen operation or without time."""
        self.run(lambda: True)

    def next_moment(self) -> float | None:
        """When the next timer of a living process fires."""
        while self._timers and _idle(self._timers[0][3]):
            self._timers.remove(self._timers[0])
            self._timers.sort()
        return self._timers[0][0] if self._timers else None

    def advance(self, moment: float) -> None:
        """Set the time, before which no timer may be due, and settle."""
        super().call_at(moment, lambda: None, context=contextvars.Context())
        jumps = iter((False, True))
        self.run(lambda: next(jumps, True))

    def hold(self, process: Process) -> None:
        """Hold back whatever of this process becomes due, until `resume`."""
        self.stopped.setdefault(process, [])
        # The checker excuses a process that is stopped for what it does not do.
        process.resumes_at = math.inf

    def resume(self, process: Process) -> None:
        """Let the process go on, beginning with what became due meanwhile."""
        process.resumes_at = self._now
        self._ready.extend(self.stopped.pop(process, ()))
        self.settle()

    def _step(self, handle: _Handle) -> None:
        if handle.host is not None and handle.host in self.stopped:
            self.stopped[handle.host].append(handle)
        else:
            super()._step(handle)


def _idle(handle: _Handle) -> bool:
    return handle.cancelled() or (handle.host is not None and not handle.host.alive)


def make_held_loop() -> HeldLoop:
    """A loop; see `tests.simulation.loop.make_loop`."""
    return HeldLoop()  # type: ignore[abstract]


class HeldWorld(World):
    """Holds operations until they are chosen, and remembers what each process was told."""

    loop: HeldLoop

    def __init__(self, loop: HeldLoop, *, call_seconds: float, traced: bool) -> None:
        nemesis = Nemesis(0, CALM, ())
        # The model thinks for 2 to 30 seconds: see `tests.simulation.model.thinking_seconds`.
        nemesis.schedule = Steady((min(call_seconds, 25.0) - 2.0) / 28.0)
        super().__init__(loop, nemesis, traced=traced)
        self._call_seconds = call_seconds
        #: Whether operations are no longer held.
        self.calm = True
        self.held: list[Pending] = []
        #: A digest of all that a process was told, by its name: together with the code it is
        #: its state.
        self.heard: dict[str, bytes] = {}
        #: When each process was last told something.
        self._told_at: dict[str, float] = {}
        #: Gives what an answer says, without the parts that differ between equal states.
        self.told: Callable[[object], object] = repr

    def ready(self, process: Process) -> Sequence[Pending]:
        """The waiting operations of this process, in the order in which they came."""
        return [pending for pending in self.held if pending.call.process is process]

    async def perform(self, call: Call, apply: Callable[[], Awaitable[_T]]) -> _T:
        """See `World.perform`: once the operation is chosen, it happens as was decided."""
        self.next_fault(call.kind, call.process.name, call.target)
        call.begin()
        if call.work_seconds:
            await asyncio.sleep(self._call_seconds)
        if self.calm or _never_written(call):
            return await apply()
        outcome = await self._chosen(call)
        if outcome is Outcome.CRASH_BEFORE:
            await self._die(call)
        if outcome is Outcome.REFUSED:
            await self._answer(call, outcome, call.refused)
            raise call.refused
        try:
            result = await apply()
        except Exception as problem:
            await self._answer(call, outcome, problem)
            raise
        await self._answer(call, outcome, result)
        return result

    async def _chosen(self, call: Call) -> Outcome:
        now = self.loop.time()
        pending = Pending(
            call=call,
            issued_at=now,
            decision=self.loop.create_future(),
            follows=self._told_at.get(call.process.name) == now,
        )
        self.held.append(pending)
        try:
            return await pending.decision
        finally:
            if pending in self.held:
                self.held.remove(pending)

    async def _answer(self, call: Call, outcome: Outcome, answer: object) -> None:
        if outcome is Outcome.CRASH_AFTER:
            await self._die(call)
        lost = outcome is Outcome.LOST_ANSWER
        who = call.process.name
        at = self._told_at[who] = self.loop.time()
        said = "lost" if lost else self.told(answer)
        text = repr((self.heard.get(who), call.kind, call.target, at, said))
        self.heard[who] = blake2b(text.encode(), digest_size=12).digest()
        if lost:
            raise call.unanswered

    def forget_dead(self) -> None:
        """Drop the operations for which no living process waits."""
        self.held = [pending for pending in self.held if pending.call.process.alive]


def _never_written(call: Call) -> bool:
    return all(name.startswith(_NEVER_WRITTEN) for name in call.target.split(" "))
