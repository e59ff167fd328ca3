"""Steps take turns at a run, in virtual time."""

import asyncio

from executor.jobs.run_locks import LONGEST_WAIT_SECONDS, RunLocks
from shared.domain.documents import DocumentRef, Snapshot, Version
from tests.support.held_job import virtually

RUN = DocumentRef("flow_runs", "run")


def run_at(version: int) -> Snapshot:
    return Snapshot(ref=RUN, version=Version(version), data={})


def test_the_next_one_begins_where_the_one_before_left_the_run() -> None:
    async def scene() -> list[int]:
        turns = RunLocks()
        seen: list[int] = []

        async def step() -> None:
            async with turns.at(RUN) as turn:
                newest = turn.newest(run_at(1))
                seen.append(newest.version)
                await asyncio.sleep(1)
                turn.written(newest, Version(newest.version + 1))

        await asyncio.gather(step(), step(), step())
        return seen

    assert virtually(scene()) == [1, 2, 3]


def test_what_was_read_later_counts_more() -> None:
    async def scene() -> int:
        async with RunLocks().at(RUN) as turn:
            turn.written(run_at(1), Version(2))
            return turn.newest(run_at(3)).version

    assert virtually(scene()) == 3


def test_a_step_that_waits_too_long_goes_on_without_the_lock() -> None:
    async def scene() -> float:
        turns, loop = RunLocks(), asyncio.get_running_loop()

        async def stuck() -> None:
            async with turns.at(RUN):
                await asyncio.sleep(3_600)

        task = asyncio.create_task(stuck())
        await asyncio.sleep(0)
        begun = loop.time()
        async with turns.at(RUN):
            waited = loop.time() - begun
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return waited

    assert virtually(scene()) == LONGEST_WAIT_SECONDS


def test_steps_of_other_runs_do_not_wait_and_nothing_is_kept_for_the_next_time() -> None:
    async def scene() -> int:
        turns = RunLocks()
        async with turns.at(RUN) as first, turns.at(DocumentRef("flow_runs", "other")):
            first.written(run_at(1), Version(2))
        async with turns.at(RUN) as turn:
            return turn.newest(run_at(1)).version

    assert virtually(scene()) == 1


def test_a_cancelled_wait_takes_no_turn_from_anybody() -> None:
    async def scene() -> None:
        turns = RunLocks()

        async def step() -> None:
            async with turns.at(RUN):
                await asyncio.sleep(1)

        first, second, third = (asyncio.create_task(step()) for _ in range(3))
        await asyncio.sleep(0.5)
        second.cancel()
        await asyncio.gather(first, second, third, return_exceptions=True)
        assert third.done()
        assert third.exception() is None

    virtually(scene())
