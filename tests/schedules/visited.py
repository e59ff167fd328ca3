"""The states that were visited: of one process, or of many that share a table."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import product
from typing import Final, Protocol

#: How long the name of a state is.
STATE_BYTES: Final = 12
#: A name, and under which bounds the state was visited.
_SLOT_BYTES: Final = 16
#: How many slots are looked at for one name. Where all of them hold others, the table is full.
_MOST_LOOKS: Final = 256
#: More preemptions, or faults, than this cannot be spent: each pair has its bit in a slot.
MOST_SPENT: Final = 3


@dataclass(frozen=True, slots=True)
class Spent:
    """How much of the bounds a schedule has used."""

    preemptions: int = 0
    faults: int = 0

    def covers(self, other: "Spent") -> bool:
        """Whether every continuation that the other allows is allowed after this, too."""
        return self.preemptions <= other.preemptions and self.faults <= other.faults


_EVERY = [Spent(*each) for each in product(range(MOST_SPENT + 1), repeat=2)]
_BITS = {spent: 1 << number for number, spent in enumerate(_EVERY)}
#: The bits of all that cover it.
_COVERING = {
    spent: sum(_BITS[other] for other in _EVERY if other.covers(spent)) for spent in _EVERY
}


class Visited(Protocol):
    """Knows the states that were visited, and how little was spent to reach each of them."""

    def visit(self, state: bytes, spent: Spent) -> bool:
        """Note the state; False where nothing new can follow from it."""


@dataclass(slots=True)
class OwnVisited:
    """The states that one process visited (implements `Visited`)."""

    bits: dict[bytes, int] = field(default_factory=dict)

    def visit(self, state: bytes, spent: Spent) -> bool:
        """See `Visited`."""
        bits = self.bits.get(state, 0)
        if bits & _COVERING[spent]:
            return False
        self.bits[state] = bits | _BITS[spent]
        return True


class SharedVisited:
    """A table in memory that processes share (implements `Visited`).

    Each state is new to one process only: a slot is written under the lock. One that is read
    while it is written shows less than it will, and is read again under the lock.

    Args:
        memory: whose length is a multiple of 16; all zero at the beginning.
        lock: keeps out the other processes.
    """

    def __init__(self, memory: memoryview, lock: AbstractContextManager[object]) -> None:
        self._memory = memory
        self._lock = lock

    def clear(self) -> None:
        """Forget all."""
        self._memory[:] = bytes(len(self._memory))

    def visit(self, state: bytes, spent: Spent) -> bool:
        """See `Visited`.

        Raises:
            MemoryError: the table is full.
        """
        if self._bits(self._place(state)) & _COVERING[spent]:
            return False
        with self._lock:
            place = self._place(state)
            bits = self._bits(place)
            if bits & _COVERING[spent]:
                return False
            self._write(place, state, bits | _BITS[spent])
            return True

    def slots(self) -> Iterator[bytes]:
        """All that is known, one state after the other."""
        for place in range(0, len(self._memory), _SLOT_BYTES):
            if self._bits(place):
                yield bytes(self._memory[place : place + _SLOT_BYTES])

    def take(self, slots: bytes) -> None:
        """Know what another table knew, whose slots these are."""
        for begin in range(0, len(slots), _SLOT_BYTES):
            state = slots[begin : begin + STATE_BYTES]
            bits = slots[begin + STATE_BYTES : begin + _SLOT_BYTES]
            self._write(self._place(state), state, int.from_bytes(bits))

    def _place(self, state: bytes) -> int:
        """Where the state stands, or could stand."""
        begin = int.from_bytes(state) * _SLOT_BYTES
        for place in range(begin, begin + _MOST_LOOKS * _SLOT_BYTES, _SLOT_BYTES):
            found = place % len(self._memory)
            if self._memory[found : found + STATE_BYTES] == state or not self._bits(found):
                return found
        raise MemoryError("the table of visited states is full")

    def _bits(self, place: int) -> int:
        return int.from_bytes(self._memory[place + STATE_BYTES : place + _SLOT_BYTES])

    def _write(self, place: int, state: bytes, bits: int) -> None:
        slot = state + bits.to_bytes(_SLOT_BYTES - STATE_BYTES)
        self._memory[place : place + _SLOT_BYTES] = slot
