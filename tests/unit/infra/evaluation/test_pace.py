"""The pace of an evaluation, in virtual time: calls are even, and pause after a refusal."""

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from infra.ops.evaluation.asking.pace import (
    FIRST_REST_SECONDS,
    LONGEST_REST_SECONDS,
    LOOK_EVERY_SECONDS,
    EvaluationPace,
)


@dataclass(slots=True)
class VirtualTime:
    """A clock that only sleeping moves."""

    seconds: float = 0.0
    slept: list[float] = field(default_factory=list)

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds


def pace(time: VirtualTime, per_minute: float) -> EvaluationPace:
    return EvaluationPace(clock=time, every_seconds=60 / per_minute, sleep=time.sleep)


async def test_turns_come_at_an_even_distance_and_no_burst_follows_a_pause() -> None:
    time = VirtualTime()
    own = pace(time, 30)

    moments = []
    for _ in range(3):
        await own.turn()
        moments.append(time.seconds)
    time.seconds += 100
    for _ in range(2):
        await own.turn()
        moments.append(time.seconds)

    assert moments == [0, 2, 4, 104, 106]


async def test_after_each_refusal_it_rests_twice_as_long_until_an_answer_comes() -> None:
    time = VirtualTime()
    own = pace(time, 60)
    rests = []
    for _ in range(6):
        own.refused()
        before = time.seconds
        await own.turn()
        rests.append(time.seconds - before)

    assert rests[:3] == [FIRST_REST_SECONDS, 2 * FIRST_REST_SECONDS, 4 * FIRST_REST_SECONDS]
    assert rests[-1] == LONGEST_REST_SECONDS
    own.accepted()
    own.refused()
    before = time.seconds
    await own.turn()
    assert time.seconds - before == FIRST_REST_SECONDS


async def test_after_a_refusal_turns_are_twice_as_far_apart() -> None:
    time = VirtualTime()
    own = pace(time, 30)
    await own.turn()
    own.refused()
    # This refusal is of a call that was already under way, so it says nothing new.
    own.refused()

    moments = []
    for _ in range(3):
        await own.turn()
        moments.append(time.seconds)

    assert moments == [FIRST_REST_SECONDS + later for later in (0, 4, 8)]


async def test_while_production_leaves_nothing_nothing_is_asked() -> None:
    time = VirtualTime()
    looks = iter([0.0, 0.5, math.inf, 20.0])

    async def left() -> float:
        return next(looks)

    own = EvaluationPace(clock=time, every_seconds=1, sleep=time.sleep, left_by_production=left)
    moments = []
    for _ in range(3):
        await own.turn()
        moments.append(time.seconds)

    # It waited twice for a look; then ten seconds pass until it looks again.
    assert moments == [2 * LOOK_EVERY_SECONDS, 21, 22]
    time.seconds += LOOK_EVERY_SECONDS
    await own.turn()
    assert next(looks, None) is None
    # Twenty calls a minute are left, so one comes every three seconds.
    before = time.seconds
    await own.turn()
    assert time.seconds - before == 3
