"""One test suite for the dead-letter subscription, run in memory and on Pub/Sub."""

import base64
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx2
import pytest

from infra.local.emulators.clients import subscriber_client
from infra.local.emulators.pubsub import DEAD_LETTER_SUBSCRIPTION, create_topics
from infra.local.processes.functions import DEAD_LETTER_TOPIC
from infra.ops.dead_letters.box import (
    BoxUnavailable,
    DeadLetterBox,
    PubSubDeadLetters,
    pulled,
)
from infra.ops.dead_letters.letter import DeadLetter
from tests.support.emulators import Emulators
from tests.support.kept_letters import KeptLetters

NOBODY = "http://127.0.0.1:1/"
LIMIT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A subscription, and a function that puts a letter there."""

    box: DeadLetterBox
    publish: Callable[[bytes, dict[str, str]], Awaitable[str]]


@pytest.fixture(params=["kept", pytest.param("pubsub", marks=pytest.mark.emulators)])
async def site(request: pytest.FixtureRequest, project_id: str) -> AsyncIterator[Site]:
    if request.param == "kept":
        yield _kept()
        return
    emulators: Emulators = request.getfixturevalue("emulators")
    host, root = emulators.pubsub_host, f"projects/{project_id}"
    await create_topics(host, project_id, push_url=NOBODY)

    async def publish(data: bytes, attributes: dict[str, str]) -> str:
        message = {"data": base64.b64encode(data).decode(), "attributes": attributes}
        async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
            url = f"http://{host}/v1/{root}/topics/{DEAD_LETTER_TOPIC}:publish"
            answer = await client.post(url, json={"messages": [message]})
        [message_id] = answer.raise_for_status().json()["messageIds"]
        return str(message_id)

    async with subscriber_client(host) as client:
        name = f"{root}/subscriptions/{DEAD_LETTER_SUBSCRIPTION}"
        yield Site(box=PubSubDeadLetters(client, name), publish=publish)


def _kept() -> Site:
    box = KeptLetters()

    async def publish(data: bytes, attributes: dict[str, str]) -> str:
        message_id = str(next(box.handles))
        box.letters.append(
            DeadLetter(
                message_id=message_id,
                published_at=datetime(2026, 1, 5, tzinfo=UTC),
                data=data,
                attributes=attributes,
            )
        )
        return message_id

    return Site(box=box, publish=publish)


async def test_letters_are_read_as_they_were_published(site: Site) -> None:
    first = await site.publish(b"\x00\xff", {"workerReason": "the data is not JSON"})
    second = await site.publish(b"{}", {"a": "ü"})

    async with pulled(site.box, LIMIT) as held:
        letters = {message_id: one.letter for message_id, one in held.items()}

    assert set(letters) == {first, second}
    assert (letters[first].data, letters[second].attributes) == (b"\x00\xff", {"a": "ü"})
    assert letters[first].reason == "unreadable: the data is not JSON"
    assert letters[first].published_at.tzinfo is not None


async def test_what_is_held_is_nobody_else_s_and_what_is_given_back_is_there_again(
    site: Site,
) -> None:
    message_id = await site.publish(b"{}", {})

    async with pulled(site.box, LIMIT) as held:
        assert set(held) == {message_id}
        async with pulled(site.box, LIMIT) as others:
            assert others == {}

    async with pulled(site.box, LIMIT) as again:
        assert set(again) == {message_id}


async def test_what_is_acknowledged_is_gone_and_the_rest_is_not(site: Site) -> None:
    gone, stays = await site.publish(b"1", {}), await site.publish(b"2", {})

    async with pulled(site.box, LIMIT) as held:
        await site.box.acknowledge([held[gone].ack_id])
        del held[gone]

    async with pulled(site.box, LIMIT) as left:
        assert set(left) == {stays}


async def test_no_more_are_pulled_than_were_asked_for(site: Site) -> None:
    for _ in range(3):
        await site.publish(b"{}", {})

    async with pulled(site.box, 2) as held:
        assert len(held) == 2


@pytest.mark.emulators
async def test_a_subscription_that_does_not_exist_is_named(emulators: Emulators) -> None:
    async with subscriber_client(emulators.pubsub_host) as client:
        box = PubSubDeadLetters(client, "projects/p/subscriptions/nowhere")

        with pytest.raises(BoxUnavailable, match="subscriptions/nowhere: NotFound"):
            await box.pull(1)
