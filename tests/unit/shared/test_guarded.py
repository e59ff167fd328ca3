"""The loop of every guarded commit: what is tried, how long it waits, and how it ends."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

import pytest

from shared.guarded import Backoff, Done, Tries, guarded
from tests.support.held_job import virtually

TRIES = Tries(limit=3, backoff=Backoff(first_seconds=1.0, longest_seconds=3.0))


class NotApplied(Exception):
    """The error with which the loop ends."""


class Longest(Random):
    """Draws the upper bound, and remembers the lower ones."""

    def __init__(self) -> None:
        super().__init__()
        self.least: list[float] = []

    def uniform(self, a: float, b: float) -> float:
        self.least.append(a)
        return b


@dataclass(slots=True)
class Store:
    """Counts up by one with each commit that it takes; others may have counted meanwhile."""

    refused: int
    #: What is stored after each refusal; Done when that is what was wanted.
    stands: Callable[[int], Done[str] | int] = lambda state: state + 10
    seen: list[str] = field(default_factory=list)

    async def commit(self, state: int) -> Done[str] | None:
        self.seen.append(f"commit {state} at {asyncio.get_running_loop().time():g}")
        self.refused -= 1
        return None if self.refused >= 0 else Done(f"written {state}")

    async def read_back(self, state: int) -> Done[str] | int:
        self.seen.append(f"read {state}")
        return self.stands(state)


async def written(store: Store, tries: Tries = TRIES, random: Random | None = None) -> str:
    return await guarded(
        1,
        commit=store.commit,
        read_back=store.read_back,
        tries=tries,
        random=random or Longest(),
        exhausted=lambda: NotApplied("as told"),
    )


def test_a_commit_that_is_applied_is_made_once_and_nothing_is_read() -> None:
    store = Store(refused=0)

    assert virtually(written(store)) == "written 1"
    assert store.seen == ["commit 1 at 0"]


def test_what_stands_is_read_before_another_commit_and_is_what_it_is_decided_on() -> None:
    store = Store(refused=2)

    assert virtually(written(store)) == "written 21"
    assert store.seen == [
        "commit 1 at 0",
        "read 1",
        "commit 11 at 1",
        "read 11",
        "commit 21 at 3",
    ]


def test_a_commit_whose_answer_was_lost_is_not_made_again() -> None:
    store = Store(refused=1, stands=lambda state: Done(f"stood {state}"))

    assert virtually(written(store)) == "stood 1"
    assert store.seen == ["commit 1 at 0", "read 1"]


def test_the_last_refusal_is_read_back_too_and_then_raised() -> None:
    store = Store(refused=99)

    with pytest.raises(NotApplied, match="as told"):
        virtually(written(store))
    assert store.seen[-2:] == ["commit 21 at 3", "read 21"]
    assert len(store.seen) == 6


def test_the_last_try_may_turn_out_to_have_been_applied() -> None:
    stands: Iterator[Done[str] | int] = iter([11, 21, Done("stood")])
    store = Store(refused=99, stands=lambda _: next(stands))

    assert virtually(written(store)) == "stood"


def test_waits_are_drawn_between_nothing_and_a_bound_that_doubles_up_to_the_longest() -> None:
    random = Longest()
    backoff = Backoff(first_seconds=0.5, longest_seconds=3.0)

    waits = [backoff.seconds(retry, random) for retry in range(1, 6)]

    assert waits == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert random.least == [0, 0, 0, 0, 0]


def test_known_rivals_spread_their_tries_over_longer_waits() -> None:
    store = Store(refused=2)
    spread = {1: 5.0, 11: 0.5}

    virtually(
        guarded(
            1,
            commit=store.commit,
            read_back=store.read_back,
            tries=TRIES,
            random=Longest(),
            exhausted=lambda: NotApplied("as told"),
            spread=lambda state: spread[state],
        )
    )

    assert [line for line in store.seen if line.startswith("commit")] == [
        "commit 1 at 0",
        "commit 11 at 5",
        "commit 21 at 7",
    ]
