"""Cloud Scheduler's stand-in asks again and again, never twice at once, whatever fails."""

import asyncio

import pytest

from infra.local.cloud.scheduler import scheduled

SOON, TIMES, TIMEOUT_SECONDS = 0.01, 3, 30


async def test_what_fails_is_done_again_at_its_next_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls, enough = 0, asyncio.Event()

    async def act() -> None:
        nonlocal calls
        calls += 1
        if calls == TIMES:
            enough.set()
        raise RuntimeError("not this time")

    async with asyncio.timeout(TIMEOUT_SECONDS), scheduled(act, every_seconds=SOON):
        await enough.wait()

    assert "a scheduled call failed" in caplog.text


async def test_a_call_that_takes_long_delays_the_next_one_and_ends_with_the_block() -> None:
    at_once, most, begun, given_up = 0, 0, asyncio.Event(), False

    async def act() -> None:
        nonlocal at_once, most, given_up
        at_once += 1
        most = max(most, at_once)
        begun.set()
        try:
            await asyncio.sleep(TIMEOUT_SECONDS * 2)
        except asyncio.CancelledError:
            given_up = True
            raise
        finally:
            at_once -= 1

    async with asyncio.timeout(TIMEOUT_SECONDS), scheduled(act, every_seconds=SOON):
        await begun.wait()
        await asyncio.sleep(10 * SOON)

    assert (most, given_up) == (1, True)


async def test_nothing_is_done_after_the_block() -> None:
    calls = 0

    async def act() -> None:
        nonlocal calls
        calls += 1

    async with scheduled(act, every_seconds=SOON):
        pass
    await asyncio.sleep(10 * SOON)

    assert calls == 0
