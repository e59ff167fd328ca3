"""Pub/Sub behind the Queue port.

The generated client is used, and not the batching one: it publishes in the caller's
coroutine and returns with the confirmation, while a batching client's threads would stand
still once the function has answered and its CPU is taken away.
"""

from collections.abc import Sequence

from google.api_core import exceptions
from google.pubsub_v1.services.publisher import PublisherAsyncClient
from google.pubsub_v1.types import PubsubMessage

from shared.domain.messages import OutgoingMessage
from shared.ports import QueueUnavailable

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
        """One Publish call per 1,000 messages; see the port."""
        for start in range(0, len(messages), MAX_BATCH):
            batch = [
                PubsubMessage(data=message.data, attributes=dict(message.attributes))
                for message in messages[start : start + MAX_BATCH]
            ]
            try:
                await self._client.publish(
                    topic=self._topic, messages=batch, timeout=timeout_seconds
                )
            except (exceptions.GoogleAPICallError, exceptions.RetryError) as error:
                raise QueueUnavailable(type(error).__name__) from None
