"""The dead-letter subscription as the simulation has it, and an operator's way to it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from infra.ops.dead_letters.box import HOLD_SECONDS, BoxUnavailable, HeldLetter
from infra.ops.dead_letters.letter import DeadLetter
from shared.domain.messages import OutgoingMessage
from tests.simulation.nemesis import Kind
from tests.simulation.process import EPOCH, Process
from tests.simulation.world import Call, World

_SECONDS = 15.0


class LetterWitness(Protocol):
    """Is told of every letter that an operator has acknowledged."""

    def letter_acknowledged(self, letter: DeadLetter) -> None:
        """The letter is gone for good."""


@dataclass(slots=True, kw_only=True)
class DeadLetters:
    """The dead-letter topic with its subscription: what is taken stays until acknowledged."""

    letters: dict[str, DeadLetter] = field(default_factory=dict)
    #: Until when somebody holds each letter, in virtual seconds.
    held_until: dict[str, float] = field(default_factory=dict)
    _count: int = 0

    def take(self, messages: Sequence[OutgoingMessage]) -> None:
        """Keep them."""
        for message in messages:
            self._count += 1
            name = f"letter-{self._count}"
            self.letters[name] = DeadLetter(
                message_id=name,
                published_at=EPOCH,
                data=message.data,
                attributes=message.attributes,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedLetters:
    """Implements the DeadLetterBox; a letter's handle is its id."""

    world: World
    process: Process
    dead_letters: DeadLetters
    witness: LetterWitness

    async def pull(self, limit: int) -> Sequence[HeldLetter]:
        """See the port."""
        now = self.world.loop.time

        async def pull() -> Sequence[HeldLetter]:
            box = self.dead_letters
            free = [x for x in box.letters if box.held_until.get(x, 0.0) <= now()][:limit]
            box.held_until |= dict.fromkeys(free, now() + HOLD_SECONDS)
            return [HeldLetter(ack_id=name, letter=box.letters[name]) for name in free]

        return await self.world.perform(self._call(Kind.PULL, "letters"), pull)

    async def hold(self, ack_ids: Sequence[str], seconds: int) -> None:
        """See the port."""

        async def hold() -> None:
            until = self.world.loop.time() + seconds
            self.dead_letters.held_until |= dict.fromkeys(ack_ids, until)

        await self.world.perform(self._call(Kind.HOLD, " ".join(ack_ids)), hold)

    async def acknowledge(self, ack_ids: Sequence[str]) -> None:
        """See the port."""

        async def acknowledge() -> None:
            for name in ack_ids:
                letter = self.dead_letters.letters.pop(name, None)
                if letter is not None:
                    self.witness.letter_acknowledged(letter)

        await self.world.perform(self._call(Kind.ACKNOWLEDGE, " ".join(ack_ids)), acknowledge)

    def _call(self, kind: Kind, target: str) -> Call:
        return Call(
            process=self.process,
            kind=kind,
            target=target,
            timeout_seconds=_SECONDS,
            refused=BoxUnavailable("simulated"),
            unanswered=BoxUnavailable("simulated"),
            forbidden=BoxUnavailable("simulated"),
        )
