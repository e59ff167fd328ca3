"""Pub/Sub behind the Queue port, with its push requests, in one process."""

import base64
import itertools
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from infra.local.embedded.deliveries import Deliveries
from shared.domain.messages import OutgoingMessage
from shared.domain.times import rfc3339
from shared.ports import Clock

_OK = range(200, 300)

#: Takes the body of a push request, answers an HTTP status; 2xx acknowledges.
PushEndpoint: TypeAlias = Callable[[bytes], Awaitable[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedMessage:
    """A message as the queue keeps it."""

    message_id: str
    published_at: str
    content: OutgoingMessage


@dataclass(slots=True, kw_only=True)
class KeptMessages:
    """Implements the Queue port for a topic that nobody listens to, such as dead letters."""

    messages: list[OutgoingMessage] = field(default_factory=list)

    async def publish(
        self, messages: Sequence[OutgoingMessage], *, timeout_seconds: float
    ) -> None:
        """Keep them; see the port."""
        del timeout_seconds
        self.messages.extend(messages)


class EmbeddedQueue:
    """Implements the Queue port; hands each message on, as `deliveries` allows."""

    def __init__(self, deliveries: Deliveries[QueuedMessage], clock: Clock) -> None:
        self._deliveries = deliveries
        self._clock = clock
        self._ids = itertools.count(1)

    async def publish(
        self, messages: Sequence[OutgoingMessage], *, timeout_seconds: float
    ) -> None:
        """Never waits; see the port."""
        del timeout_seconds
        for message in messages:
            self._deliveries.submit(
                QueuedMessage(
                    message_id=str(next(self._ids)),
                    published_at=rfc3339(self._clock.now()),
                    content=message,
                )
            )


def pushing_to(
    endpoint: PushEndpoint, subscription: str
) -> Callable[[QueuedMessage, int], Awaitable[bool]]:
    """Return what delivers a message to the endpoint, and tells whether it acknowledged."""

    async def push(message: QueuedMessage, attempt: int) -> bool:
        return await endpoint(push_body(message, subscription, attempt)) in _OK

    return push


def push_body(message: QueuedMessage, subscription: str, attempt: int) -> bytes:
    """The wrapped push request of a subscription with a dead-letter policy.

    https://cloud.google.com/pubsub/docs/push#receive_push
    """
    envelope = {
        "subscription": subscription,
        "deliveryAttempt": attempt,
        "message": {
            "data": base64.b64encode(message.content.data).decode("ascii"),
            "attributes": dict(message.content.attributes),
            "messageId": message.message_id,
            "publishTime": message.published_at,
        },
    }
    return json.dumps(envelope).encode()
