"""Eventarc and Pub/Sub under control: each delivery waits to be chosen."""

import asyncio
import contextvars
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.schedules.held import HeldWorld
from tests.simulation.delivery import Delivery, Platform
from tests.simulation.nemesis import Kind
from tests.simulation.process import DIED, Process, Request

Handler = Callable[[Any], Any]


@dataclass(slots=True, kw_only=True)
class EachAlone:
    """Instances of one function, each of which gets one request (implements `Stage`)."""

    name: str
    world: HeldWorld
    deploy: Callable[[Process], Handler]
    count: int = 0

    def start(self, request: Any) -> Request:
        """See `delivery.Stage`."""
        self.count += 1
        process = Process(f"{self.name}-{self.count}", self.world.loop)
        handle = self.deploy(process)
        return process.start(lambda: handle(request))


@dataclass(slots=True, kw_only=True)
class Item:
    """Something to deliver until it is acknowledged."""

    kind: Kind
    delivery: Delivery
    #: Whether it must be delivered; a copy may be, but need not.
    original: bool
    attempt: int = 0
    request: Request | None = None
    started_at: float = 0.0
    done: bool = False

    @property
    def waits(self) -> bool:
        """Whether it could be delivered at present."""
        return not self.done and self.request is None

    def start(self, seconds: float) -> Request:
        """Deliver it."""
        self.attempt += 1
        self.started_at = seconds
        self.delivery.begins()
        self.request = self.delivery.stage.start(self.delivery.request(self.attempt))
        return self.request

    def hear(self, seconds: float) -> None:
        """Take the answer, if there is one, or note that the platform waits no longer."""
        if self.request is None:
            return
        late = seconds - self.started_at > self.delivery.deadline_seconds
        if not late and not self.request.answer.done():
            return
        heard = _unanswered(self.request) if late else self.request
        self.request = None
        self.done = self.delivery.settled(heard)


def _unanswered(request: Request) -> Request:
    loop = request.answer.get_loop()
    return Request(process=request.process, answer=loop.create_future())


@dataclass(slots=True, kw_only=True)
class HeldPlatform(Platform):
    """Keeps what is to be delivered, until it is chosen or let go."""

    #: How many copies of the next item of a kind may be delivered at the same time; one by
    #: default.
    copies: dict[Kind, int] = field(default_factory=dict)
    calm: bool = False
    items: list[Item] = field(default_factory=list)

    def deliver(self, kind: Kind, delivery: Delivery) -> None:
        """See `Platform.deliver`."""
        if self.calm:
            Platform.deliver(self, kind, delivery)
            return
        self.items += [
            Item(kind=kind, delivery=delivery, original=number == 0)
            for number in range(self.copies.pop(kind, 1))
        ]

    def let_go(self) -> None:
        """Deliver as the cloud does from now on, beginning with what is left."""
        self.calm = True
        for item in self.items:
            if item.request is not None:
                context = contextvars.Context()
                self.open += 1
                task = self.world.loop.create_task(self._finish(item), context=context)
                task.add_done_callback(self._ended, context=context)
            elif not item.done and item.original:
                self._start(item.delivery, 0.01)

    async def _finish(self, item: Item) -> None:
        request = item.request
        if request is None:
            return
        left = item.started_at + item.delivery.deadline_seconds - self.world.loop.time()
        await asyncio.wait({request.answer}, timeout=left)
        died = request.answer.done() and request.answer.result() is DIED
        if died or not item.delivery.settled(request):
            self._start(item.delivery, 10.0)
