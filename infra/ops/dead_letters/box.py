"""The dead-letter subscription: what is pulled is held, and goes back unless acknowledged."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from google.api_core import exceptions
from google.pubsub_v1.services.subscriber import SubscriberAsyncClient
from google.pubsub_v1.types import ReceivedMessage

from infra.failures import CannotBeDone
from infra.ops.dead_letters.letter import DeadLetter

#: Pub/Sub's own bound of one pull and of one acknowledgement.
MAX_BATCH = 1_000
#: A letter whose holder is killed is free again after so long.
HOLD_SECONDS = 30
_RENEW_SECONDS = 10.0
#: An empty subscription answers late, and an answer without letters does not mean that none are
#: left.
_PULL_SECONDS = 2.0
_EMPTY_PULLS = 2
_CALL_SECONDS = 15.0


class BoxUnavailable(CannotBeDone):
    """Pub/Sub did not answer, or there is no such subscription."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldLetter:
    """A pulled letter, and the handle that acknowledges it or gives it back."""

    ack_id: str
    letter: DeadLetter


class DeadLetterBox(Protocol):
    """Where the dead letters are."""

    async def pull(self, limit: int) -> Sequence[HeldLetter]:
        """At most so many letters, which nobody else gets for HOLD_SECONDS.

        Raises:
            BoxUnavailable: no answer.
        """
        ...

    async def hold(self, ack_ids: Sequence[str], seconds: int) -> None:
        """Hold letters for so many seconds more; 0 gives them back.

        Raises:
            BoxUnavailable: no answer.
        """
        ...

    async def acknowledge(self, ack_ids: Sequence[str]) -> None:
        """Remove letters for good.

        Raises:
            BoxUnavailable: no answer; they may come again.
        """
        ...


class PubSubDeadLetters:
    """Implements the DeadLetterBox for `projects/<project>/subscriptions/<subscription>`."""

    def __init__(self, client: SubscriberAsyncClient, subscription: str) -> None:
        self._client = client
        self._subscription = subscription

    async def pull(self, limit: int) -> Sequence[HeldLetter]:
        """Pull until it is empty or the limit is reached; see the port."""
        found: dict[str, HeldLetter] = {}
        empty = 0
        while len(found) < limit and empty < _EMPTY_PULLS:
            page = await self._pull_once(min(limit - len(found), MAX_BATCH))
            empty = 0 if page else empty + 1
            # At least once: one that comes again has a new handle, and the last one counts.
            found |= {held.letter.message_id: held for held in page}
        return list(found.values())

    async def _pull_once(self, limit: int) -> Sequence[HeldLetter]:
        try:
            async with asyncio.timeout(_PULL_SECONDS):
                answer = await self._client.pull(
                    subscription=self._subscription,
                    max_messages=limit,
                    retry=None,
                    timeout=_PULL_SECONDS,
                )
            held = [_held(message) for message in answer.received_messages]
        except (TimeoutError, exceptions.DeadlineExceeded):
            return []
        except Exception as error:  # noqa: BLE001 -- no library's exception passes a port
            raise self._unavailable(error) from None
        await self.hold([letter.ack_id for letter in held], HOLD_SECONDS)
        return held

    async def hold(self, ack_ids: Sequence[str], seconds: int) -> None:
        """One ModifyAckDeadline call for 1,000 letters; see the port."""
        await self._each_batch(
            ack_ids,
            lambda batch: self._client.modify_ack_deadline(
                subscription=self._subscription,
                ack_ids=batch,
                ack_deadline_seconds=seconds,
                retry=None,
                timeout=_CALL_SECONDS,
            ),
        )

    async def acknowledge(self, ack_ids: Sequence[str]) -> None:
        """One Acknowledge call for 1,000 letters; see the port."""
        await self._each_batch(
            ack_ids,
            lambda batch: self._client.acknowledge(
                subscription=self._subscription,
                ack_ids=batch,
                retry=None,
                timeout=_CALL_SECONDS,
            ),
        )

    async def _each_batch(
        self, ack_ids: Sequence[str], call: Callable[[list[str]], Awaitable[object]]
    ) -> None:
        """Make the call for each batch, once. A caller may repeat it: both calls allow that."""
        for start in range(0, len(ack_ids), MAX_BATCH):
            try:
                async with asyncio.timeout(_CALL_SECONDS):
                    await call(list(ack_ids[start : start + MAX_BATCH]))
            except Exception as error:  # noqa: BLE001 -- no library's exception passes a port
                raise self._unavailable(error) from None

    def _unavailable(self, error: Exception) -> BoxUnavailable:
        return BoxUnavailable(f"{self._subscription}: {type(error).__name__}")


def _held(received: ReceivedMessage) -> HeldLetter:
    message = received.message
    letter = DeadLetter(
        message_id=message.message_id,
        published_at=message.publish_time,
        data=message.data,
        attributes=dict(message.attributes),
    )
    return HeldLetter(ack_id=received.ack_id, letter=letter)


@asynccontextmanager
async def pulled(box: DeadLetterBox, limit: int) -> AsyncIterator[dict[str, HeldLetter]]:
    """At most so many letters by message id, held while the block lasts.

    Those that are still in the mapping at its end go back.

    Raises:
        BoxUnavailable: no answer.
    """
    letters = {held.letter.message_id: held for held in await box.pull(limit)}
    keeping = asyncio.create_task(_keep(box, letters))
    try:
        yield letters
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError):
            await keeping
        # Also after an interruption; those that cannot be given back are free soon anyway.
        with suppress(BoxUnavailable):
            await asyncio.shield(box.hold(_ack_ids(letters), 0))


async def _keep(box: DeadLetterBox, letters: dict[str, HeldLetter]) -> None:
    while True:
        await asyncio.sleep(_RENEW_SECONDS)
        with suppress(BoxUnavailable):
            await box.hold(_ack_ids(letters), HOLD_SECONDS)


def _ack_ids(letters: dict[str, HeldLetter]) -> list[str]:
    return [held.ack_id for held in letters.values()]
