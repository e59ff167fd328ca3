"""The faults, the same for every system, and what is counted under them."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from tests.benchmarks.rivals.gate import Gate, Point

STEPS = 20
_PATIENCE_SECONDS = 60.0
_QUIET_SECONDS = 3.0
_POLL_SECONDS = 0.5


class Delivery(StrEnum):
    """Faults of the deliveries; those of the processes are `Point`s."""

    ONCE = "delivered once"
    TWICE = "delivered twice at once"
    AGAIN = "delivered again after completion"


class Outcome(StrEnum):
    """What is recorded for a step."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    OPEN = "open"


class Contestant(Protocol):
    """A system under test, running."""

    @property
    def gate(self) -> Gate:
        """What stands before its model and its storage."""

    async def deliver(self, steps: Sequence[str], *, copies: int) -> None:
        """Have each step done that is not known yet, asking so many times at once."""

    async def deliver_again(self, steps: Sequence[str]) -> None:
        """Ask once more for steps that are over."""

    async def kill(self) -> None:
        """Kill the worker outright, and have it come back as it does in production."""

    async def outcomes(self, steps: Sequence[str]) -> Mapping[str, Outcome]:
        """What is recorded for them."""

    async def operations(self) -> int | None:
        """Operations of its own database so far; None where they cannot be counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """What one fault did to the steps of one system."""

    fault: str
    steps: int
    #: Steps whose worker died at the point that was meant.
    killed: int
    model_calls: int
    operations: int | None
    outcomes: Mapping[str, int]


async def count(
    contestant: Contestant, fault: Delivery | Point, steps: Sequence[str]
) -> Counted:
    """Put the steps through the fault, and count."""
    calls, operations = contestant.gate.calls, await contestant.operations()
    killed = 0
    if isinstance(fault, Point):
        killed = await _killed(contestant, fault, steps)
    else:
        await contestant.deliver(steps, copies=2 if fault is Delivery.TWICE else 1)
        await _over(contestant, steps)
    if fault is Delivery.AGAIN:
        await contestant.deliver_again(steps)
    await _quiet(contestant.gate)
    ended = await contestant.outcomes(steps)
    after = await contestant.operations()
    return Counted(
        fault=fault.value,
        steps=len(steps),
        killed=killed,
        model_calls=contestant.gate.calls - calls,
        operations=None if after is None or operations is None else after - operations,
        outcomes=dict(Counter(outcome.value for outcome in ended.values())),
    )


async def _killed(contestant: Contestant, point: Point, steps: Sequence[str]) -> int:
    gate = contestant.gate
    gate.close(point, len(steps))
    await contestant.deliver(steps, copies=1)
    await gate.full(within_seconds=_PATIENCE_SECONDS)
    held = gate.held
    await contestant.kill()
    gate.open()
    await _over(contestant, steps)
    return held


async def _over(contestant: Contestant, steps: Sequence[str]) -> None:
    """Wait until all have ended, or for as long as our patience lasts."""
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            outcomes = await contestant.outcomes(steps)
            while Outcome.OPEN in outcomes.values():
                await asyncio.sleep(_POLL_SECONDS)
                outcomes = await contestant.outcomes(steps)
    except TimeoutError:
        return


async def _quiet(gate: Gate) -> None:
    """Wait until the model is left alone."""
    seen = -1
    while seen != gate.calls:
        seen = gate.calls
        await asyncio.sleep(_QUIET_SECONDS)
