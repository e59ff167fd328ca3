"""The function `notify`, over a real socket: what is signed wakes a job, nothing else does."""

import asyncio
import io
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest

from dispatcher.notify import MAX_BODY_BYTES, MAX_CALL_ID_CHARS, Notifier
from shared.adapters.clock import SystemClock
from shared.domain.hooks import hook_path
from shared.domain.messages import ENDED_CALL, decode_job_message
from shared.log import EventLogger, Severity
from tests.support.notify_function import ADDRESS, NEW, OLD, Topic, notify

FORGERIES = 300


@pytest.mark.parametrize("secret", [NEW, OLD], ids=["newest", "rotated"])
async def test_a_hook_wakes_its_job_and_hints_at_the_call(
    monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    async with notify(monkeypatch) as function:
        assert await function.post(hook_path(ADDRESS, secret)) == 204

    [message] = function.topic.taken
    job = decode_job_message(message.data)
    assert (job.run_id, job.step_id, job.claim_id) == (
        ADDRESS.run_id,
        ADDRESS.step_id,
        ADDRESS.claim_id,
    )
    assert message.attributes[ENDED_CALL] == "v1_abc"


async def test_a_hook_that_could_not_wake_its_job_is_to_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with notify(monkeypatch, down=True) as function:
        assert await function.post(hook_path(ADDRESS, NEW)) == 503


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_another_method_is_nothing(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    async with notify(monkeypatch) as function:
        url = f"{function.url}/{hook_path(ADDRESS, NEW)}"
        answer = await function.client.request(method, url)

    assert answer.status_code in {404, 405}
    assert function.topic.taken == []


async def test_a_forged_path_wakes_nobody_and_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draw, path = Random(0), hook_path(ADDRESS, NEW)
    text, _, signature = path.partition(".")
    swapped = hook_path(replace(ADDRESS, call=2), NEW).partition(".")[2]
    late = replace(ADDRESS, expires_at=SystemClock().now() - timedelta(seconds=1))
    forged = [
        "",
        "dispatch",
        text,
        f"{text}.{swapped}",
        hook_path(late, NEW),
        hook_path(ADDRESS, "x" * 32),
        f"a/{path}",
        *(f"{text}.{_random(draw, len(signature))}" for _ in range(FORGERIES)),
    ]

    async with notify(monkeypatch) as function:
        statuses = {await function.post(each) for each in forged}

    assert statuses == {404}
    assert function.topic.taken == []
    assert function.rejected == ["unsigned"] * len(forged)
    assert path not in function.log.getvalue()


def _random(draw: Random, length: int) -> str:
    return "".join(
        draw.choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_", k=length)
    )


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (b"x" * (MAX_BODY_BYTES + 1), "too_large"),
        (b"x" * 10_000_000, "too_large"),
        (b"", "unreadable"),
        (b"\xff", "unreadable"),
        (b"[" * 10_000, "unreadable"),
        ([], "unreadable"),
        ({"data": []}, "unreadable"),
        ({"data": {"id": 5}}, "unreadable"),
        ({"data": {"id": ""}}, "unreadable"),
        ({"data": {"id": "a b"}}, "unreadable"),
        ({"data": {"id": "a" * (MAX_CALL_ID_CHARS + 1)}}, "unreadable"),
    ],
)
async def test_a_body_that_names_no_call_wakes_nobody(
    monkeypatch: pytest.MonkeyPatch, told: Any, why: str
) -> None:
    async with notify(monkeypatch) as function:
        assert await function.post(hook_path(ADDRESS, NEW), told) == 404

    assert function.topic.taken == []
    assert function.rejected == [why]


async def test_a_body_that_does_not_come_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dispatcher.notify.BODY_SECONDS", 0.1)

    async def dripping() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(1)
        yield b"}"

    async with notify(monkeypatch) as function:
        address = f"{function.url}/{hook_path(ADDRESS, NEW)}"
        answer = await function.client.post(address, content=dripping())

    assert answer.status_code == 404
    assert function.rejected == ["too_slow"]
    assert function.topic.taken == []


async def test_without_a_secret_no_request_is_a_hook() -> None:
    async def nothing() -> AsyncIterator[bytes]:
        yield b""

    log = EventLogger(
        component="dispatcher",
        env="test",
        clock=SystemClock(),
        threshold=Severity.DEBUG,
        stream=io.StringIO(),
    )
    notifier = Notifier(queue=Topic(), clock=SystemClock(), log=log, secrets=())

    assert await notifier.handle("POST", "/" + hook_path(ADDRESS, NEW), {}, nothing()) == 404
