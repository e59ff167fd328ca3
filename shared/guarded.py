"""The one loop of every guarded commit: commit, and after a refusal read back and decide anew.

A commit that was refused, or whose answer was lost, may have been applied: nobody commits
again before having read what stands.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Generic, TypeVar

_State = TypeVar("_State")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits with full jitter: each is drawn between zero and a bound that doubles.

    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """

    first_seconds: float
    longest_seconds: float

    def seconds(self, retry: int, random: Random, *, spread_seconds: float = 0.0) -> float:
        """The wait in seconds before a retry; the first retry is number 1.

        The bound is at least `spread_seconds`, over which known rivals spread their tries.
        """
        bound = min(self.first_seconds * 2.0 ** (retry - 1), self.longest_seconds)
        return random.uniform(0, max(bound, spread_seconds))


@dataclass(frozen=True, slots=True)
class Tries:
    """How often a commit is tried, and how long to wait in between."""

    limit: int
    backoff: Backoff


@dataclass(frozen=True, slots=True)
class Done(Generic[_Result]):
    """The loop is over, with this result."""

    value: _Result


async def guarded(
    state: _State,
    *,
    commit: Callable[[_State], Awaitable[Done[_Result] | None]],
    read_back: Callable[[_State], Awaitable[Done[_Result] | _State]],
    tries: Tries,
    random: Random,
    exhausted: Callable[[], Exception],
    spread: Callable[[_State], float] = lambda _: 0.0,
) -> _Result:
    """Commit until it is done.

    Args:
        state: what the first commit is decided on.
        commit: decides and commits; None when the commit is not known to have been applied.
        read_back: what stands now, to decide on anew; or Done, when nothing is left to do.
        tries: the number of commits, and the waits before each reading back.
        random: draws the waits.
        exhausted: makes the error that is raised after the last try was read back too.
        spread: over how many seconds the tries of all who lost on this state are spread.

    Raises:
        Exception: what `exhausted` makes, and whatever the two functions raise.
    """
    for retry in range(1, tries.limit + 1):
        done = await commit(state)
        if done is not None:
            return done.value
        pause = tries.backoff.seconds(retry, random, spread_seconds=spread(state))
        await asyncio.sleep(pause)
        found = await read_back(state)
        if isinstance(found, Done):
            return found.value
        state = found
    raise exhausted()
