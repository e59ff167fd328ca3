"""Pub/Sub behind the Queue port.

The generated client is used, and not the batching one: it publishes in the caller's
coroutine and returns with the confirmation, while a batching client's threads would stand
still once the function has answered and its CPU is taken away.
"""

from collections.abc import Sequence
from typing import Any

from google.pubsub_v1.services.publisher import PublisherAsyncClient
from google.pubsub_v1.types import PubsubMessage

from shared.adapters.google_errors import asked
from shared.domain.messages import OutgoingMessage
from shared.ports import QueueRefused, QueueUnavailable

#: https://cloud.google.com/pubsub/quotas: messages in one publish request.
MAX_BATCH = 1_000


class PubSubQueue:
    """Implements the Queue port for one topic, `projects/<project>/topics/<topic>`."""

    def __init__(self, client: PublisherAsyncClient, topic: str) -> None:
        self._client = client
        self._topic = topic

    async def publish(
        self, messages: Sequence[OutgoingMessage], *, timeout_seconds: float
    ) -> None:
        """One Publish call per 1,000 messages; see the port.

        A message may be published twice: its receiver looks at the job's record.
        """
        encoded = [_encoded(message) for message in messages]
        left = [encoded[at : at + MAX_BATCH] for at in range(0, len(encoded), MAX_BATCH)]

        async def publish() -> None:
            while left:
                answer: Any = await self._client.publish(
                    topic=self._topic, messages=left[0], retry=None, timeout=timeout_seconds
                )
                # An answer that cannot be read confirms nothing.
                if answer is None or len(answer.message_ids) != len(left[0]):
                    raise QueueUnavailable("not every message was confirmed")
                del left[0]

        await asked(
            publish,
            timeout_seconds,
            unavailable=QueueUnavailable,
            refused=QueueRefused,
            again=True,
        )


def _encoded(message: OutgoingMessage) -> PubsubMessage:
    """The message as Pub/Sub's own.

    Raises:
        QueueRefused: an attribute has a form that Pub/Sub cannot take.
    """
    try:
        return PubsubMessage(data=message.data, attributes=dict(message.attributes))
    except (TypeError, ValueError) as error:
        text = f"INVALID_ARGUMENT: an attribute that is no text ({type(error).__name__})"
        raise QueueRefused(text, unfit=True) from None
