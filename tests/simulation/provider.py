"""The provider's memory of calls in the background, and a process' way to it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from executor.ports import (
    CallFailed,
    CallForgotten,
    CallRunning,
    CallState,
    KeptCall,
    ModelAnswer,
    ModelRequest,
)
from shared.domain.errors import GeminiAccessDenied, GeminiRequestFailed, StepError
from tests.simulation.adapters import FORBIDDEN, Observer, admitted, told_failure
from tests.simulation.ledger import CallSeen
from tests.simulation.metering import Gate
from tests.simulation.model import (
    blocked_answer,
    good_answer,
    invalid_answer,
    marker_of,
    rate_limited,
    slow_tier_seconds,
    thinking_seconds,
    unanswered,
    unfit_request,
)
from tests.simulation.nemesis import Fault, Kind
from tests.simulation.process import Process
from tests.simulation.world import Call, World


@dataclass(slots=True, kw_only=True)
class Kept:
    """A call that the provider keeps."""

    seen: CallSeen | None
    labels: Mapping[str, str]
    ready_at: float
    state: CallState


@dataclass(slots=True)
class Provider:
    """All calls that the provider keeps, by id."""

    kept: dict[str, Kept] = field(default_factory=dict)
    #: The calls that were deleted.
    forgotten: dict[str, Kept] = field(default_factory=dict)
    #: Called with the id, the address, the time of the end, and the ids of the other calls that
    #: are kept.
    announce: Callable[[str, str, float, Callable[[], list[str]]], None] | None = None
    _count: int = 0

    def keep(self, call: Kept) -> str:
        """Take a call, and return its id."""
        self._count += 1
        name = f"call-{self._count}"
        self.kept[name] = call
        return name

    def has_report(self, call_id: str) -> bool:
        """Whether a report can be fetched now or later, or could have been fetched."""
        call = self.kept.get(call_id) or self.forgotten.get(call_id)
        return call is not None and isinstance(call.state, ModelAnswer) and _good(call.state)


def _good(answer: ModelAnswer) -> bool:
    return answer.finish_reason == "STOP"


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedBackground:
    """Implements the BackgroundModel port."""

    world: World
    process: Process
    provider: Provider
    observer: Observer
    gate: Gate | None = None

    async def begin(self, request: ModelRequest, *, timeout_seconds: float) -> str:
        """See the port."""
        await admitted(self.gate, self.world, self.process, request, self.observer)
        seen: list[CallSeen | None] = []

        def keeping(state: Callable[[], Awaitable[CallState]]) -> Callable[[], Awaitable[str]]:
            async def keep() -> str:
                return self._keep(seen, await state(), request)

            return keep

        async def failed() -> CallState:
            return CallFailed(unanswered())

        call = self._call(
            Kind.BEGIN,
            marker_of(request),
            timeout_seconds,
            begin=lambda: seen.append(self.observer.called(self.process, request)),
            instead={
                Fault.RATE_LIMITED: rate_limited,
                Fault.INVALID: keeping(invalid_answer),
                Fault.BLOCKED: keeping(blocked_answer),
                Fault.FAILED: keeping(failed),
                Fault.UNFIT: unfit_request,
            },
        )
        try:
            return await self.world.perform(call, keeping(lambda: good_answer(request)))
        except StepError as problem:
            if seen:
                told_failure(problem, seen[0], self.observer)
            raise

    def _keep(
        self, seen: list[CallSeen | None], state: CallState, request: ModelRequest
    ) -> str:
        draw = self.world.nemesis.schedule
        slow = request.service_tier.slow
        thinking = slow_tier_seconds(draw) if slow else thinking_seconds(draw)
        ready_at = self.world.loop.time() + thinking
        name = self.provider.keep(
            Kept(seen=seen[0], labels=request.labels, ready_at=ready_at, state=state)
        )
        if request.hook_url and self.provider.announce:
            self.provider.announce(name, request.hook_url, ready_at, lambda: self._others(name))
        return name

    def _others(self, call_id: str) -> list[str]:
        """The ids of the calls of other steps, the latest one last."""
        mine = self.provider.kept.get(call_id)
        return [
            name
            for name, kept in self.provider.kept.items()
            if mine is None or kept.labels.get("claim") != mine.labels.get("claim")
        ]

    async def fetch(self, call_id: str, *, timeout_seconds: float) -> CallState:
        """See the port."""

        async def fetch() -> CallState:
            kept = self.provider.kept.get(call_id)
            if kept is None:
                return CallForgotten()
            return kept.state if kept.ready_at <= self.world.loop.time() else CallRunning()

        state = await self.world.perform(self._call(Kind.ASK, call_id, timeout_seconds), fetch)
        kept = self.provider.kept.get(call_id)
        if kept is not None and not isinstance(state, CallRunning):
            self.observer.call_ended(kept.seen, free=False)
        return state

    async def describe(self, call_id: str, *, timeout_seconds: float) -> KeptCall | None:
        """See the port."""

        async def describe() -> KeptCall | None:
            kept = self.provider.kept.get(call_id)
            return None if kept is None else KeptCall(labels=kept.labels, created=None)

        return await self.world.perform(
            self._call(Kind.ASK, call_id, timeout_seconds), describe
        )

    async def stop(self, call_id: str, *, timeout_seconds: float) -> None:
        """See the port."""

        async def stop() -> None:
            kept = self.provider.kept.get(call_id)
            now = self.world.loop.time()
            if kept is not None and kept.ready_at > now:
                kept.ready_at, kept.state = now, CallFailed(unanswered())
                if kept.seen is not None:
                    kept.seen.stopped = True

        await self.world.perform(self._call(Kind.ASK, call_id, timeout_seconds), stop)

    async def forget(self, call_id: str, *, ended: bool, timeout_seconds: float) -> None:
        """See the port."""
        del ended

        async def forget() -> None:
            kept = self.provider.kept.pop(call_id, None)
            if kept is not None:
                self.provider.forgotten[call_id] = kept

        await self.world.perform(self._call(Kind.FORGET, call_id, timeout_seconds), forget)

    def _call(
        self,
        kind: Kind,
        target: str,
        timeout_seconds: float,
        *,
        begin: Callable[[], None] = lambda: None,
        instead: dict[Fault, Callable[[], Awaitable[object]]] | None = None,
    ) -> Call:
        return Call(
            process=self.process,
            kind=kind,
            target=target,
            timeout_seconds=timeout_seconds,
            refused=GeminiRequestFailed("simulated"),
            unanswered=unanswered(),
            forbidden=GeminiAccessDenied(FORBIDDEN),
            begin=begin,
            instead=instead or {},
        )
