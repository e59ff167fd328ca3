"""The relay delivers as Eventarc does, over real sockets."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from infra.local.cloud.cloud_events import CloudEventMessage, Document, document_event
from infra.local.emulators.relay import Relay, RelayPolicy
from infra.local.serving.asgi import serve
from infra.local.serving.free_ports import LOOPBACK, free_port

_PATIENCE_SECONDS = 20.0
_POLL_SECONDS = 0.02
_POLLS = 1_000
_QUICK = RelayPolicy(first_retry_seconds=0.01, longest_retry_seconds=0.05)


@dataclass(slots=True, kw_only=True)
class _Dispatcher:
    """Notes each request, and answers with `status` after `seconds`."""

    status: Callable[[int], int] = lambda _: 200
    seconds: float = 0.0
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    open_now: int = 0
    open_at_most: int = 0

    @property
    def ids(self) -> list[str]:
        return [headers["ce-id"] for headers, _ in self.requests]

    async def take(self, request: Request) -> Response:
        self.requests.append((dict(request.headers), await request.body()))
        number = len(self.requests)
        self.open_now += 1
        self.open_at_most = max(self.open_at_most, self.open_now)
        await asyncio.sleep(self.seconds)
        self.open_now -= 1
        return Response(status_code=self.status(number))


def _chance(seed: int) -> random.Random:
    return random.Random(seed)


@asynccontextmanager
async def _relaying(
    dispatcher: _Dispatcher, policy: RelayPolicy = _QUICK, seed: int = 7
) -> AsyncIterator[Relay]:
    app = Starlette(routes=[Route("/", dispatcher.take, methods=["POST"])])
    async with (
        serve(app, name="dispatcher") as url,
        Relay(f"{url}/", policy=policy, chance=_chance(seed)) as relay,
    ):
        yield relay


async def _until(claim: Callable[[], bool]) -> None:
    for _ in range(_POLLS):
        if claim():
            return
        await asyncio.sleep(_POLL_SECONDS)
    pytest.fail("it never became true")


async def _idle(relay: Relay) -> None:
    await asyncio.wait_for(relay.idle(), _PATIENCE_SECONDS)


def _event(event_id: str, *, text: str = "x") -> CloudEventMessage:
    return document_event(
        project="p",
        document_path="flow_runs/é",
        old=None,
        new=Document(fields={"text": text}, create_time=1, update_time=2),
        event_id=event_id,
        time=datetime(2026, 1, 2, tzinfo=UTC),
    )


def _submit(relay: Relay, count: int) -> list[str]:
    ids = [f"event-{number}" for number in range(count)]
    for event_id in ids:
        assert relay.submit(_event(event_id))
    return ids


async def test_the_raw_bytes_and_all_attributes_arrive() -> None:
    dispatcher = _Dispatcher()
    message = _event("one")

    async with _relaying(dispatcher) as relay:
        relay.submit(message)
        await _idle(relay)

    [(headers, body)] = dispatcher.requests
    assert body == message.body
    assert message.headers.items() <= headers.items()
    assert (relay.counters.received, relay.counters.delivered) == (1, 1)


@pytest.mark.parametrize("status", [500, 503, 429, 400, 302])
async def test_a_refused_event_comes_again_under_the_same_id(status: int) -> None:
    dispatcher = _Dispatcher(status=lambda number: status if number < 3 else 204)

    async with _relaying(dispatcher) as relay:
        relay.submit(_event("one"))
        await _idle(relay)

    assert dispatcher.ids == ["one"] * 3
    assert dispatcher.requests[0][1] == dispatcher.requests[2][1]
    counters = relay.counters
    assert (counters.failed, counters.retried, counters.delivered) == (2, 2, 1)


async def test_a_late_answer_counts_as_none() -> None:
    dispatcher = _Dispatcher(seconds=0.5)
    policy = RelayPolicy(answer_timeout_seconds=0.05, first_retry_seconds=0.01, max_attempts=2)

    async with _relaying(dispatcher, policy) as relay:
        relay.submit(_event("one"))
        await _idle(relay)

    assert (relay.counters.failed, relay.counters.delivered) == (2, 0)
    assert relay.counters.in_flight == 0


async def test_an_event_survives_a_dispatcher_that_is_down() -> None:
    port = free_port()
    dispatcher = _Dispatcher()
    app = Starlette(routes=[Route("/", dispatcher.take, methods=["POST"])])

    async with Relay(f"http://{LOOPBACK}:{port}/", policy=_QUICK) as relay:
        relay.submit(_event("one"))
        await _until(lambda: relay.counters.failed > 0)
        async with serve(app, port=port, name="dispatcher"):
            await _idle(relay)

    assert dispatcher.ids == ["one"]


async def test_an_event_is_given_up_in_the_end_and_counted() -> None:
    dispatcher = _Dispatcher(status=lambda _: 500)
    policy = RelayPolicy(first_retry_seconds=0.01, max_attempts=3)

    async with _relaying(dispatcher, policy) as relay:
        relay.submit(_event("one"))
        await _idle(relay)

    assert len(dispatcher.requests) == 3
    assert relay.counters.dropped == {"given_up": 1}


async def test_an_event_that_is_too_old_is_given_up() -> None:
    dispatcher = _Dispatcher(status=lambda _: 500)
    policy = RelayPolicy(first_retry_seconds=0.01, max_age_seconds=0.0)

    async with _relaying(dispatcher, policy) as relay:
        relay.submit(_event("one"))
        await _idle(relay)

    assert relay.counters.dropped == {"given_up": 1}


def test_the_delay_doubles_up_to_its_limit_with_at_most_half_taken_off() -> None:
    policy = RelayPolicy(first_retry_seconds=1.0, longest_retry_seconds=30.0)
    chance = _chance(1)

    for attempt, full in [(1, 1), (2, 2), (3, 4), (5, 16), (6, 30), (10_000, 30)]:
        delays = [policy.retry_delay(attempt, chance) for _ in range(200)]
        assert full / 2 <= min(delays) < max(delays) <= full


async def test_no_more_requests_are_open_than_the_policy_allows() -> None:
    dispatcher = _Dispatcher(seconds=0.05)

    async with _relaying(dispatcher, RelayPolicy(concurrency=3)) as relay:
        ids = _submit(relay, 12)
        await _idle(relay)

    assert dispatcher.open_at_most == 3
    assert sorted(dispatcher.ids) == sorted(ids)


async def test_a_failing_event_does_not_hold_up_the_others() -> None:
    dispatcher = _Dispatcher(status=lambda number: 500 if number == 1 else 200)
    policy = RelayPolicy(concurrency=1, first_retry_seconds=0.3)

    async with _relaying(dispatcher, policy) as relay:
        _submit(relay, 3)
        await _idle(relay)

    assert dispatcher.ids == ["event-0", "event-1", "event-2", "event-0"]


async def test_duplicates_keep_the_id() -> None:
    dispatcher = _Dispatcher()

    async with _relaying(dispatcher) as relay:
        relay.disturbance.duplicate = 1.0
        relay.submit(_event("one"))
        await _idle(relay)

    assert dispatcher.ids == ["one", "one"]
    assert relay.counters.received == relay.counters.duplicated == 1


async def test_what_gathers_in_a_pause_can_come_in_another_order() -> None:
    dispatcher = _Dispatcher()

    async with _relaying(dispatcher, RelayPolicy(concurrency=1)) as relay:
        relay.disturbance.reorder = 8
        relay.pause()
        ids = _submit(relay, 8)
        assert dispatcher.requests == []
        relay.resume()
        await _idle(relay)

    assert dispatcher.ids != ids
    assert sorted(dispatcher.ids) == ids


async def test_lost_events_are_counted() -> None:
    dispatcher = _Dispatcher()

    async with _relaying(dispatcher) as relay:
        relay.disturbance.drop = 1.0
        assert not relay.submit(_event("one"))
        await _idle(relay)

    assert dispatcher.requests == []
    assert relay.counters.dropped == {"disturbed": 1}


async def test_an_event_over_the_limit_is_dropped_counted_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    dispatcher = _Dispatcher()
    within, over = _event("within"), _event("over", text="y" * 100)
    policy = RelayPolicy(event_limit_bytes=len(within.body))

    async with _relaying(dispatcher, policy) as relay:
        assert relay.submit(within)
        assert not relay.submit(over)
        await _idle(relay)

    assert dispatcher.ids == ["within"]
    assert relay.counters.dropped == {"too_large": 1}
    assert "event over of documents/flow_runs/%C3%A9 dropped: too_large" in caplog.text


async def test_the_limit_is_that_of_eventarc_unless_lifted() -> None:
    dispatcher = _Dispatcher()
    large = _event("large", text="y" * 512 * 1024)

    async with _relaying(dispatcher) as relay:
        assert not relay.submit(large)
    async with _relaying(dispatcher, RelayPolicy(event_limit_bytes=None)) as relay:
        assert relay.submit(large)
        await _idle(relay)

    assert dispatcher.ids == ["large"]


async def test_a_full_queue_refuses() -> None:
    dispatcher = _Dispatcher()

    async with _relaying(dispatcher, RelayPolicy(queue_limit=2)) as relay:
        relay.pause()
        _submit(relay, 2)
        assert not relay.submit(_event("three"))
        relay.resume()
        await _idle(relay)

    assert relay.counters.dropped == {"queue_full": 1}


async def test_what_is_not_settled_at_the_end_is_dropped_and_counted() -> None:
    """Nobody waits for it: neither those who already waited nor those who come later."""
    dispatcher = _Dispatcher(status=lambda _: 500)
    policy = RelayPolicy(first_retry_seconds=60.0)

    async with _relaying(dispatcher, policy) as relay:
        waiting = asyncio.create_task(relay.idle())
        _submit(relay, 2)
        await _until(lambda: relay.counters.failed == 2)
    await asyncio.wait_for(waiting, _PATIENCE_SECONDS)
    await _idle(relay)

    assert relay.counters.dropped == {"closed": 2}
    assert not relay.submit(_event("late"))
