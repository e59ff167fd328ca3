"""The only public function under attack, over a real socket: no attack has any effect.

`ATTACKS=10000` sends so many forged requests instead of a few hundred; `-s` shows the figures.
"""

import asyncio
import gc
import json
import os
import socket
import statistics
import time
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any
from urllib.parse import urlsplit

import pytest

from dispatcher import wiring
from dispatcher.notify import MAX_BODY_BYTES
from dispatcher.webhook_signatures import verifiers
from infra.local.gemini.faults import Faults
from infra.local.gemini.webhooks import Webhooks
from shared.adapters.clock import SystemClock
from shared.domain.hooks import MAX_PATH_CHARS, hook_path
from tests.support.notify_function import ADDRESS, NEW, OLD, TOLD, Notify, notify

ATTACKS = int(os.environ.get("ATTACKS", "300"))
PATH = hook_path(ADDRESS, NEW)
TEXT, _, SIGNATURE = PATH.partition(".")
OLD_SIGNATURE = hook_path(ADDRESS, OLD).partition(".")[2]
#: Forged requests come in this many batches; the memory held after each is compared.
BATCHES = 10
#: How much more memory may be held after the last batch than after the first: nothing that
#: grows.
MOST_GROWTH_BYTES = 65_536
#: How much memory the transports may hold.
SPARE_BYTES = 1_048_576
#: How far the times of two kinds of forgery may differ, with this many requests of each.
MOST_APART, ENOUGH = 0.1, 500
#: How far they may differ with fewer requests, when chance has more influence.
MOST_APART_OF_FEW = 1.0
BODY = json.dumps(TOLD).encode()


@pytest.fixture(autouse=True)
def no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that reaches a database, or the real topic, may even be created."""

    def never() -> Any:
        raise AssertionError("a hook reached for a client")

    for name in ("_documents", "_firestore", "_queue"):
        monkeypatch.setattr(wiring, name, never)


def forged(draw: Random) -> Iterator[str]:
    """Paths that look more or less like ours."""
    while True:
        other = replace(ADDRESS, call=draw.randint(2, 9_999))
        late = timedelta(seconds=draw.randint(1, 10**6))
        past = replace(ADDRESS, expires_at=SystemClock().now() - late)
        swapped = hook_path(other, NEW).partition(".")[2]
        position = draw.randrange(len(SIGNATURE) - 1)
        flipped = "A" if SIGNATURE[position] != "A" else "B"
        yield from (
            f"{TEXT}.{swapped}",
            f"{TEXT}.{SIGNATURE[:position]}{flipped}{SIGNATURE[position + 1 :]}",
            f"{TEXT}.{SIGNATURE[:position]}",
            f"{TEXT[:position]}.{SIGNATURE}",
            f"{TEXT}.{draw.randbytes(32).hex()}",
            hook_path(past, NEW),
            hook_path(ADDRESS, draw.randbytes(16).hex()),
            f"x/{PATH}",
            f"{PATH}/",
            f"{PATH}.{SIGNATURE}",
            "." * draw.randint(1, 99),
            "%00%ff",
            "A" * draw.choice((10, MAX_PATH_CHARS + 1)),
        )


async def test_forged_paths_wake_nobody_and_leave_nothing_but_a_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paths, held = forged(Random(1)), list[int]()
    statuses, reasons = Counter[int](), Counter[str]()
    async with notify(monkeypatch) as function:
        tracemalloc.start()
        try:
            for _ in range(BATCHES):
                statuses.update(
                    [await function.post(next(paths)) for _ in range(ATTACKS // BATCHES)]
                )
                assert SIGNATURE not in function.log.getvalue()
                reasons.update(function.taken_log())
                gc.collect()
                held.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()

    _show("forged paths", statuses=dict(statuses), reasons=dict(reasons), held_bytes=held)
    assert set(statuses) == {404}
    assert function.topic.taken == []
    assert reasons == {"unsigned": ATTACKS // BATCHES * BATCHES}
    assert held[-1] - held[0] < MOST_GROWTH_BYTES


async def test_the_time_of_an_answer_says_nothing_of_a_signature(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody can measure how much of a signature is right, nor which secret it is near."""
    other = hook_path(ADDRESS, "x" * 32).partition(".")[2]
    another = hook_path(replace(ADDRESS, call=2), NEW).partition(".")[2]
    kinds = {
        "nothing right": f"{TEXT}.{other}",
        "all but the first": f"{TEXT}.{_flipped(SIGNATURE, 0)}",
        "all but the last": f"{TEXT}.{_flipped(SIGNATURE, len(SIGNATURE) - 1)}",
        "of the older secret, all but the last": f"{TEXT}.{_flipped(OLD_SIGNATURE, -1)}",
        "of another call": f"{TEXT}.{another}",
    }
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    draw, order = Random(1), list(kinds)
    async with notify(monkeypatch) as function:
        for _ in range(-(-ATTACKS // len(kinds))):
            draw.shuffle(order)
            for kind in order:
                # This is the time of the processor, so whatever else the machine does is no
                # part of it.
                begun = time.process_time()
                assert await function.post(kinds[kind]) == 404
                times[kind].append(1000 * (time.process_time() - begun))

    quartiles = {kind: statistics.quantiles(samples, n=4) for kind, samples in times.items()}
    for kind, found in quartiles.items():
        _show(
            "an answer's time, ms",
            kind=kind,
            quartiles=[round(each, 3) for each in found],
            samples=len(times[kind]),
        )
    # The lower quartiles are compared, as a disturbance only ever makes a request longer.
    quick = [found[0] for found in quartiles.values()]
    apart = max(quick) / min(quick) - 1
    _show("lower quartiles apart", percent=round(100 * apart, 1))
    enough = len(times["nothing right"]) >= ENOUGH
    assert apart <= (MOST_APART if enough else MOST_APART_OF_FEW)


def _flipped(signature: str, position: int) -> str:
    characters = list(signature)
    characters[position] = "A" if characters[position] != "A" else "B"
    return "".join(characters)


def _show(what: str, **figures: object) -> None:
    print(what, figures)  # noqa: T201 -- for the docs, with -s


async def test_big_bodies_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(160):
            yield b"x" * 65_536

    times = max(3, ATTACKS // 100)
    async with notify(monkeypatch) as function:
        tracemalloc.start()
        try:
            for path in (PATH, "forged"):
                for _ in range(times):
                    answer = await function.client.post(
                        f"{function.url}/{path}", content=endless()
                    )
                    assert answer.status_code == 404
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        reasons, taken = Counter(function.rejected), function.topic.taken

    _show("bodies of 10 MB", times=2 * times, most_bytes=most)
    assert taken == []
    assert reasons == {"too_large": times, "unsigned": times}
    # A request has ten megabytes; what the transports buffer of it is bounded.
    assert most < 64 * MAX_BODY_BYTES + 2 * SPARE_BYTES


async def test_slow_bodies_are_answered_and_hold_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("dispatcher.notify.BODY_SECONDS", 0.2)
    async with notify(monkeypatch) as function:
        slow = [await _half_sent(function) for _ in range(20)]
        assert await function.post(PATH) == 204
        answers = [await asyncio.wait_for(reader.readline(), 60) for reader, _ in slow]
        for _, writer in slow:
            writer.close()
        reasons = Counter(function.rejected)

    assert {line.split()[1] for line in answers} == {b"404"}
    assert reasons == {"too_slow": 20}
    assert len(function.topic.taken) == 1


async def _half_sent(
    function: Notify,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A request with a valid address, whose body never comes."""
    parts = urlsplit(function.url)
    reader, writer = await asyncio.open_connection(
        parts.hostname, parts.port, family=socket.AF_INET
    )
    head = f"POST /{PATH} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: 100\r\n\r\n{{"
    writer.write(head.encode())
    await writer.drain()
    return reader, writer


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_another_method_does_nothing_with_a_good_address(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with notify(monkeypatch) as function:
        answer = await function.client.request(
            method, f"{function.url}/{PATH}", content=BODY if method != "HEAD" else None
        )

    assert answer.status_code in {404, 405}
    assert function.topic.taken == []


async def test_a_replay_wakes_the_same_job_and_nothing_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with notify(monkeypatch) as function:
        for _ in range(10):
            assert await function.post(PATH) == 204

    assert len({(each.data, *each.attributes.items()) for each in function.topic.taken}) == 1


async def test_where_the_provider_signs_a_leaked_address_is_worth_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    provider, other = Webhooks(faults=Faults()), Webhooks(faults=Faults())
    now = int(SystemClock().now().timestamp())
    good = provider.headers("msg_1", now, BODY)
    stale = provider.headers("msg_1", now - 3_600, BODY)
    attempts: list[tuple[dict[str, str], bytes]] = [
        ({}, BODY),
        (good, BODY.replace(b"v1_abc", b"v1_abd")),
        (stale, BODY),
        ({**stale, "webhook-timestamp": str(now)}, BODY),
        ({**good, "webhook-id": "msg_2"}, BODY),
        ({**good, "webhook-signature": ""}, BODY),
        (other.headers("msg_1", now, BODY), BODY),
    ]
    for key in provider.signing_keys:
        async with notify(monkeypatch, checks=verifiers([key])) as function:
            for headers, body in attempts:
                assert await function.post(PATH, body, headers=headers) == 404
            assert function.topic.taken == []
            assert function.rejected == ["signature"] * len(attempts)
            assert await function.post(PATH, BODY, headers=good) == 204
            assert len(function.topic.taken) == 1
