"""A dead-letter subscription in memory; it passes the contract tests of the real one."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from infra.ops.dead_letters.box import HeldLetter
from infra.ops.dead_letters.letter import DeadLetter


@dataclass(slots=True, kw_only=True)
class KeptLetters:
    """Implements the DeadLetterBox port. What is held stays so until it is given back."""

    letters: list[DeadLetter] = field(default_factory=list)
    held: dict[str, DeadLetter] = field(default_factory=dict)
    handles: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    async def pull(self, limit: int) -> Sequence[HeldLetter]:
        """See the port."""
        free = [letter for letter in self.letters if letter not in self.held.values()]
        pulled = [
            HeldLetter(ack_id=str(next(self.handles)), letter=one) for one in free[:limit]
        ]
        self.held |= {one.ack_id: one.letter for one in pulled}
        return pulled

    async def hold(self, ack_ids: Sequence[str], seconds: int) -> None:
        """See the port."""
        if seconds == 0:
            for ack_id in ack_ids:
                self.held.pop(ack_id, None)

    async def acknowledge(self, ack_ids: Sequence[str]) -> None:
        """See the port."""
        for ack_id in ack_ids:
            if letter := self.held.pop(ack_id, None):
                self.letters.remove(letter)
