"""The virtual loop behaves as asyncio's own does, except for time and death."""

import asyncio
from collections.abc import Coroutine
from random import Random
from typing import Any

import pytest

from tests.simulation.loop import RunsInCircles, VirtualLoop, make_loop
from tests.simulation.process import DIED, Process, Request


@pytest.fixture
def loop() -> VirtualLoop:
    return make_loop(Random(1))


def run(loop: VirtualLoop, work: Coroutine[Any, Any, Any]) -> Request:
    request = Process("a", loop).start(lambda: work)
    loop.run(lambda: False)
    return request


def test_sleeping_takes_virtual_time_alone(loop: VirtualLoop) -> None:
    async def work() -> str:
        await asyncio.sleep(86_400)
        return "awake"

    assert run(loop, work()).answer.result() == "awake"
    assert loop.time() == 86_400


def test_a_timeout_cancels_what_takes_longer(loop: VirtualLoop) -> None:
    async def work() -> float:
        try:
            async with asyncio.timeout(5), asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(1))
                group.create_task(asyncio.sleep(9))
        except TimeoutError:
            return loop.time()
        return 0.0

    assert run(loop, work()).answer.result() == 5.0


def test_an_exception_is_the_answer(loop: VirtualLoop) -> None:
    async def work() -> None:
        raise ValueError("no")

    assert isinstance(run(loop, work()).answer.result(), ValueError)


def test_nothing_of_a_crashed_process_runs_any_more(loop: VirtualLoop) -> None:
    done: list[str] = []
    process = Process("a", loop)

    async def work() -> None:
        try:
            child = asyncio.create_task(asyncio.sleep(1))
            child.add_done_callback(lambda _: done.append("child"))
            await asyncio.sleep(10)
        finally:
            done.append("finally")

    request = process.start(work)
    loop.call_later(0.5, process.crash)
    loop.run(lambda: False)

    assert (request.answer.result(), done) == (DIED, [])


def test_what_survives_a_crash_hears_of_it(loop: VirtualLoop) -> None:
    first, second = Process("a", loop), Process("b", loop)
    lost = first.start(lambda: asyncio.sleep(100))

    async def wait() -> object:
        return await lost.answer

    heard = second.start(wait)
    loop.call_later(1, first.crash)
    loop.run(lambda: False)

    assert heard.answer.result() is DIED


def test_a_paused_process_goes_on_where_it_was(loop: VirtualLoop) -> None:
    process = Process("a", loop)
    seen: list[float] = []

    async def work() -> None:
        for _ in range(3):
            await asyncio.sleep(1)
            seen.append(loop.time())

    process.start(work)
    loop.call_later(1.5, lambda: process.pause(10))
    loop.run(lambda: False)

    assert seen == [1.0, 11.5, 12.5]


def test_a_clock_that_jumped_back_remembers_how_late_it_was(loop: VirtualLoop) -> None:
    process = Process("a", loop)
    before = process.now()

    process.shift_clock(60)
    process.shift_clock(-90)

    assert (process.now() - before).total_seconds() == -30
    assert (process.latest() - before).total_seconds() == 60


def test_a_loop_that_never_comes_to_rest_is_stopped(loop: VirtualLoop) -> None:
    async def circle() -> None:
        for again in iter(lambda: asyncio.sleep(0), None):
            await again

    Process("a", loop).start(circle)

    with pytest.raises(RunsInCircles):
        loop.run(lambda: False)
    loop.close()


def test_an_exception_that_nobody_takes_is_complained_of(loop: VirtualLoop) -> None:
    async def leave() -> None:
        async def fail() -> None:
            raise ValueError("unseen")

        asyncio.create_task(fail())  # noqa: RUF006 -- left alone on purpose
        await asyncio.sleep(1)

    run(loop, leave())
    loop.close()

    assert any("unseen" in complaint for complaint in loop.complaints)
