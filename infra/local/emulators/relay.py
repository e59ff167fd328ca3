"""The event relay: between Firestore's events and the dispatcher it does what Eventarc does.

The Firestore emulator delivers each event once, one at a time, as base64 text, and forgets it
when the answer is not a success. Eventarc delivers the raw bytes, several events at a time in
no promised order, and delivers an event again, under the same id, until it is accepted. The
relay takes from the former (see `events`) and behaves like the latter.
"""

import asyncio
import logging
import random
from collections import Counter, deque
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import httpx2

from infra.local.cloud.cloud_events import CloudEventMessage

_log = logging.getLogger(__name__)
#: Eventarc's limit for one event, 512 KB.
EVENT_LIMIT_BYTES = 512 * 1024
# Shorter than the two seconds for which gunicorn keeps an idle connection: reusing one that
# the server is closing would cost a failed attempt.
_KEEP_ALIVE_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayPolicy:
    """How events are delivered.

    Eventarc waits 10 seconds for an answer, retries after 10 to 600 seconds and gives up after
    24 hours; retries come sooner here, since somebody is watching.
    """

    concurrency: int = 8
    queue_limit: int = 10_000
    answer_timeout_seconds: float = 10.0
    first_retry_seconds: float = 1.0
    longest_retry_seconds: float = 30.0
    max_age_seconds: float = 86_400.0
    max_attempts: int = 10_000
    #: None lifts the limit.
    event_limit_bytes: int | None = EVENT_LIMIT_BYTES

    def retry_delay(self, attempt: int, chance: random.Random) -> float:
        """Return the seconds to wait after this failed attempt (from 1): doubling, jittered."""
        # The exponent is capped so that no float overflows; the delay is capped well before.
        full = self.first_retry_seconds * 2.0 ** min(attempt - 1, 64)
        return min(full, self.longest_retry_seconds) * chance.uniform(0.5, 1.0)


@dataclass(slots=True, kw_only=True)
class Disturbance:
    """What a test asks the relay to do wrong; production does these things too.

    `duplicate` and `drop` are the fractions of events delivered twice and never. With
    `reorder` above 1 each delivery takes any of the next so many waiting events: pause the
    relay, let events gather, resume.
    """

    duplicate: float = 0.0
    drop: float = 0.0
    reorder: int = 1


@dataclass(slots=True, kw_only=True)
class RelayCounters:
    """What happened so far.

    `received` counts events; `delivered` and `failed` count attempts, so with duplicates
    `delivered` can exceed `received`. `in_flight` is the number of requests open now.
    `dropped` counts by reason, and each drop is logged.
    """

    received: int = 0
    duplicated: int = 0
    delivered: int = 0
    failed: int = 0
    retried: int = 0
    in_flight: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True, kw_only=True)
class _Delivery:
    message: CloudEventMessage
    received_at: float
    attempts: int = 0


class Relay:
    """Delivers events to one URL while its `async with` block lasts.

    Belongs to the event loop of that block; another thread hands its events over with
    `loop.call_soon_threadsafe(relay.submit, message)`. What is not settled when the block
    ends is dropped: use `idle()` before, where that matters.
    """

    def __init__(
        self,
        target_url: str,
        *,
        policy: RelayPolicy | None = None,
        chance: random.Random | None = None,
    ) -> None:
        """Deliver to `target_url`; `chance` decides jitter and disturbances."""
        self.target_url = target_url
        self.policy = policy or RelayPolicy()
        self.disturbance = Disturbance()
        self.counters = RelayCounters()
        self._chance = chance or random.Random()  # noqa: S311 - jitter is no secret
        self._waiting: deque[_Delivery] = deque()
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._unsettled = 0
        self._settled = asyncio.Event()
        self._settled.set()
        self._open = self._paused = False

    async def __aenter__(self) -> Self:
        limits = httpx2.Limits(
            max_connections=self.policy.concurrency, keepalive_expiry=_KEEP_ALIVE_SECONDS
        )
        # No timeout of its own: _post bounds the whole exchange.
        self._client = httpx2.AsyncClient(trust_env=False, timeout=None, limits=limits)
        self._open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open = False
        for timer in self._timers.values():
            timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.aclose()
        self._abandon()

    def submit(self, message: CloudEventMessage) -> bool:
        """Take an event for delivery; false, with a counted and logged reason, if refused."""
        self.counters.received += 1
        if reason := self._refusal(message):
            self._drop(message, reason)
            return False
        self._accept(message)
        if self._chance.random() < self.disturbance.duplicate:
            self.counters.duplicated += 1
            self._accept(message)
        self._pump()
        return True

    def pause(self) -> None:
        """Start no further delivery; events are taken as before."""
        self._paused = True

    def resume(self) -> None:
        """Deliver again, beginning with what has gathered."""
        self._paused = False
        self._pump()

    async def idle(self) -> None:
        """Wait until every event taken so far and until then is delivered or dropped."""
        await self._settled.wait()

    def _refusal(self, message: CloudEventMessage) -> str | None:
        limit = self.policy.event_limit_bytes
        if not self._open:
            return "closed"
        if limit is not None and len(message.body) > limit:
            return "too_large"
        if self._unsettled >= self.policy.queue_limit:
            return "queue_full"
        if self._chance.random() < self.disturbance.drop:
            return "disturbed"
        return None

    def _accept(self, message: CloudEventMessage) -> None:
        self._unsettled += 1
        self._settled.clear()
        now = asyncio.get_running_loop().time()
        self._waiting.append(_Delivery(message=message, received_at=now))

    def _pump(self) -> None:
        """Begin as many deliveries as may run side by side."""
        room = self.policy.concurrency - len(self._tasks)
        if self._paused or not self._open:
            return
        for _ in range(min(room, len(self._waiting))):
            task = asyncio.create_task(self._deliver(self._next()))
            self._tasks.add(task)
            task.add_done_callback(self._finished)

    def _next(self) -> _Delivery:
        index = self._chance.randrange(
            max(1, min(self.disturbance.reorder, len(self._waiting)))
        )
        delivery = self._waiting[index]
        del self._waiting[index]
        return delivery

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._pump()

    async def _deliver(self, delivery: _Delivery) -> None:
        delivery.attempts += 1
        self.counters.in_flight += 1
        try:
            failure = await self._post(delivery.message)
        finally:
            self.counters.in_flight -= 1
        if failure is None:
            self.counters.delivered += 1
            self._settle()
        else:
            self.counters.failed += 1
            self._retry(delivery, failure)

    async def _post(self, message: CloudEventMessage) -> str | None:
        """Send the event once; None when it was accepted, else what went wrong."""
        try:
            async with asyncio.timeout(self.policy.answer_timeout_seconds):
                response = await self._client.post(
                    self.target_url, content=message.body, headers=message.headers
                )
        except TimeoutError:
            return f"no answer in {self.policy.answer_timeout_seconds:g} s"
        except httpx2.TransportError as error:
            return type(error).__name__
        return None if response.is_success else f"status {response.status_code}"

    def _retry(self, delivery: _Delivery, failure: str) -> None:
        loop = asyncio.get_running_loop()
        spent = delivery.attempts >= self.policy.max_attempts
        if spent or loop.time() - delivery.received_at > self.policy.max_age_seconds:
            self._drop(delivery.message, "given_up")
            self._settle()
            return
        delay = self.policy.retry_delay(delivery.attempts, self._chance)
        event_id, attempt = delivery.message.event_id, delivery.attempts
        _log.warning(
            "event %s, attempt %d: %s; again in %.1f s", event_id, attempt, failure, delay
        )
        self._timers[id(delivery)] = loop.call_later(delay, self._again, delivery)

    def _again(self, delivery: _Delivery) -> None:
        self._timers.pop(id(delivery))
        self.counters.retried += 1
        self._waiting.append(delivery)
        self._pump()

    def _settle(self) -> None:
        self._unsettled -= 1
        if self._unsettled == 0:
            self._settled.set()

    def _abandon(self) -> None:
        """Count what is not settled as dropped, so that nobody waits for it."""
        if self._unsettled:
            self.counters.dropped["closed"] += self._unsettled
            _log.warning("%d events were not delivered before the end", self._unsettled)
        self._unsettled = 0
        self._settled.set()

    def _drop(self, message: CloudEventMessage, reason: str) -> None:
        self.counters.dropped[reason] += 1
        subject = message.headers.get("ce-subject")
        _log.error("event %s of %s dropped: %s", message.event_id, subject, reason)
