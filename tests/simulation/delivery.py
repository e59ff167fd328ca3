"""Eventarc and Pub/Sub as the simulation has them: at least once, in no order."""

import asyncio
import contextvars
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol

from infra.local.cloud.cloud_events import document_event
from infra.local.embedded.queue import QueuedMessage, push_body
from shared.domain.document_size import document_overhead
from shared.domain.messages import OutgoingMessage
from shared.domain.times import rfc3339
from tests.simulation.nemesis import Fault, Kind
from tests.simulation.process import EPOCH, Process, Request
from tests.simulation.records import Change, moment_of
from tests.simulation.world import World

FLOW_RUNS = "flow_runs"
#: How long the platform waits for the answer to a delivery: Eventarc's subscription has the
#: default of 10 seconds, ours has the most that Pub/Sub allows.
EVENT_DEADLINE_SECONDS = 10.0
MESSAGE_DEADLINE_SECONDS = 600.0
#: A larger event is not delivered (https://cloud.google.com/eventarc/quotas).
MAX_EVENT_BYTES = 512 * 1024
#: The retry policy of both subscriptions
#: (https://cloud.google.com/pubsub/docs/subscription-retry-policy).
_FIRST_BACKOFF_SECONDS = 10.0
_LONGEST_BACKOFF_SECONDS = 600.0
MAX_EVENT_ATTEMPTS = 50
#: More deliveries than a step's budget of attempts, as in production.
MAX_MESSAGE_ATTEMPTS = 20
_DELAY_SECONDS = (60.0, 1500.0)
_DUPLICATE_SECONDS = (0.0, 700.0)


class Stage(Protocol):
    """The instances of one function."""

    def start(self, request: Any) -> Request:
        """Hand a request to an instance."""
        ...


class Witness(Protocol):
    """Is told of every answer of an instance."""

    def answered(self, request: Request) -> None:
        """An instance has answered, or the platform waits no longer."""

    def event_begins(self, event_id: str) -> None:
        """A dispatcher gets an event."""

    def event_ends(self, event_id: str, *, acknowledged: bool) -> None:
        """The platform has the answer to the event, or waits no longer."""

    def message_acknowledged(self, request: Request, message: OutgoingMessage) -> None:
        """An executor has acknowledged a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRequest:
    """The event that a dispatcher gets."""

    attributes: Mapping[str, str]
    data: bytes


@dataclass(slots=True, kw_only=True)
class Delivery:
    """Delivers one thing again and again until it is acknowledged."""

    world: World
    stage: Stage
    name: str
    deadline_seconds: float
    max_attempts: int
    request: Callable[[int], Any]
    settled: Callable[[Request], bool]
    begins: Callable[[], None] = lambda: None
    give_up: Callable[[], None] = lambda: None

    async def run(self, delay_seconds: float) -> None:
        """Deliver, after the delay."""
        await asyncio.sleep(delay_seconds)
        for attempt in range(1, self.max_attempts + 1):
            if await self._delivered(attempt):
                return
            backoff = min(
                _FIRST_BACKOFF_SECONDS * 2.0 ** (attempt - 1), _LONGEST_BACKOFF_SECONDS
            )
            await asyncio.sleep(backoff * self.world.nemesis.schedule.uniform(0.5, 1.0))
        self.world.note(self.name, "is given up")
        self.give_up()

    async def _delivered(self, attempt: int) -> bool:
        self.begins()
        request = self.stage.start(self.request(attempt))
        self.world.note(request.process.name, f"gets {self.name}, delivery {attempt}")
        # Whatever the instance answers after the deadline, the platform no longer hears it.
        await asyncio.wait({request.answer}, timeout=self.deadline_seconds)
        return self.settled(request)


@dataclass(slots=True, kw_only=True)
class Platform:
    """Starts deliveries, as often and as late as the nemesis likes."""

    world: World
    #: Deliveries that are under way or will come.
    open: int = 0

    def deliver(self, kind: Kind, delivery: Delivery) -> None:
        """Deliver at least once, unless the delivery is lost."""
        number, fault = self.world.next_fault(kind, "platform", delivery.name)
        draw = self.world.nemesis.details(number)
        usual = self.world.nemesis.latency()
        if fault is Fault.LOST:
            return
        if fault is Fault.DEAD_LETTERED:
            delivery.give_up()
            return
        if fault is Fault.DELAYED:
            usual = draw.uniform(*_DELAY_SECONDS)
            self.world.disturbed(for_seconds=usual)
        self._start(delivery, usual)
        if fault is Fault.DUPLICATE:
            later = draw.choice((0.0, draw.uniform(*_DUPLICATE_SECONDS)))
            self.world.disturbed(for_seconds=later)
            self._start(delivery, later)

    def _start(self, delivery: Delivery, delay_seconds: float) -> None:
        # The delivery runs in the context of no process: it goes on when processes die.
        context = contextvars.Context()
        self.open += 1
        task = self.world.loop.create_task(delivery.run(delay_seconds), context=context)
        task.add_done_callback(self._ended, context=context)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self.open -= 1
        task.result()


@dataclass(slots=True, kw_only=True)
class EventTrigger:
    """Sends an event for every change of a flow run, and of nothing else."""

    platform: Platform
    dispatchers: Stage
    witness: Witness
    _count: int = 0

    def committed(self, who: Process | None, changes: Sequence[Change]) -> None:
        """See `records.Reader`."""
        del who
        for change in changes:
            if change.ref.collection == FLOW_RUNS:
                self._send(change)

    def _send(self, change: Change) -> None:
        present = [found for found in (change.old, change.new) if found is not None]
        overhead = document_overhead(change.ref)
        if sum(overhead + found.fields_bytes for found in present) > MAX_EVENT_BYTES:
            return
        self._count += 1
        event_id = f"event-{self._count}"
        document = change.new or change.old
        message = document_event(
            project="simulated",
            document_path=f"{FLOW_RUNS}/{change.ref.document_id}",
            old=change.old,
            new=change.new,
            event_id=event_id,
            time=moment_of(document) if document else EPOCH,
        )
        subject = f"documents/{FLOW_RUNS}/{change.ref.document_id}"
        request = EventRequest(
            attributes={"id": event_id, "subject": subject}, data=message.body
        )

        def settled(answered: Request) -> bool:
            self.witness.answered(answered)
            acknowledged = answered.answer.done() and answered.answer.result() is None
            self.witness.event_ends(event_id, acknowledged=acknowledged)
            return acknowledged

        self.platform.deliver(
            Kind.EVENT,
            Delivery(
                world=self.platform.world,
                stage=self.dispatchers,
                name=event_id,
                deadline_seconds=EVENT_DEADLINE_SECONDS,
                max_attempts=MAX_EVENT_ATTEMPTS,
                request=lambda _: request,
                settled=settled,
                begins=lambda: self.witness.event_begins(event_id),
            ),
        )


class MessageStore(Protocol):
    """A topic."""

    def take(self, messages: Sequence[OutgoingMessage]) -> None:
        """Store messages."""


@dataclass(slots=True, kw_only=True)
class Topic:
    """The jobs topic with its push subscription."""

    platform: Platform
    executors: Stage
    witness: Witness
    dead_letters: MessageStore
    _count: int = 0

    def take(self, messages: Sequence[OutgoingMessage]) -> None:
        """Store messages, and deliver them from now on."""
        for message in messages:
            self._send(message)

    def _send(self, message: OutgoingMessage) -> None:
        self._count += 1
        queued = QueuedMessage(
            message_id=f"message-{self._count}", published_at=rfc3339(EPOCH), content=message
        )

        def settled(answered: Request) -> bool:
            self.witness.answered(answered)
            answer = answered.answer
            if not answer.done() or answer.result() != HTTPStatus.NO_CONTENT:
                return False
            self.witness.message_acknowledged(answered, message)
            return True

        self.platform.deliver(
            Kind.MESSAGE,
            Delivery(
                world=self.platform.world,
                stage=self.executors,
                name=queued.message_id,
                deadline_seconds=MESSAGE_DEADLINE_SECONDS,
                max_attempts=MAX_MESSAGE_ATTEMPTS,
                request=lambda attempt: push_body(
                    queued, "projects/s/subscriptions/s", attempt
                ),
                settled=settled,
                give_up=lambda: self.dead_letters.take([message]),
            ),
        )


class SweepWitness(Protocol):
    """Is told of every sweep."""

    def swept(self, request: Request) -> None:
        """A sweep has come to its end."""


@dataclass(slots=True, kw_only=True)
class Scheduler:
    """Cloud Scheduler: asks for a sweep at each tick, sometimes twice, seldom not at all."""

    world: World
    sweeps: Stage
    every_seconds: float
    witness: SweepWitness | None = None

    async def run(self) -> None:
        """Tick until the world ends."""
        await asyncio.sleep(self.world.nemesis.schedule.uniform(0, self.every_seconds))
        while True:
            _, fault = self.world.next_fault(Kind.TICK, "scheduler", "sweep")
            times = {Fault.LOST: 0, Fault.DUPLICATE: 2}.get(fault, 1) if fault else 1
            for _ in range(times):
                self._start()
            await asyncio.sleep(self.every_seconds)

    def _start(self) -> None:
        request = self.sweeps.start(None)
        if self.witness is not None:
            told = self.witness.swept
            request.answer.add_done_callback(lambda _: told(request))
