"""Reading push requests."""

import base64
import json
from typing import Any

import pytest

from executor.push import MAX_BODY_BYTES, Delivery, PushUnreadable, parse_push


def push(**message: Any) -> bytes:
    body = {"subscription": "projects/p/subscriptions/s", "message": message}
    return json.dumps(body).encode()


def test_a_push_as_production_sends_it_is_read() -> None:
    attributes = {"runId": "r", "googclient_deliveryattempt": "3"}
    message = {
        "data": base64.b64encode(b"{}").decode(),
        "attributes": attributes,
        "messageId": "11",
        "message_id": "11",
        "publishTime": "2026-01-05T09:00:00Z",
        "orderingKey": "k",
    }
    body = {"subscription": "s", "deliveryAttempt": 3, "message": message}

    assert parse_push(json.dumps(body).encode()) == Delivery(
        data=b"{}", attributes=attributes, message_id="11", attempt=3
    )


def test_a_push_as_the_emulator_sends_it_has_no_attempt() -> None:
    delivery = parse_push(push(data="e30=", messageId="1"))

    assert (delivery.data, delivery.attributes, delivery.attempt) == (b"{}", {}, None)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"plain text", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", 'no "message"'),
        (b"null", 'no "message"'),
        (b"{}", 'no "message"'),
        (b'{"message": "x"}', 'no "message"'),
        (b'{"runId": "unwrapped"}', "is the push unwrapped"),
        (push(data="not base64!"), "not base64"),
        (push(data="é"), "not base64"),
        (b" " * (MAX_BODY_BYTES + 1), "at most"),
    ],
    ids=range(12),
)
def test_what_is_no_push_is_refused_without_quoting_it(body: bytes, reason: str) -> None:
    with pytest.raises(PushUnreadable, match=reason):
        parse_push(body)


@pytest.mark.parametrize("data", [None, 7, [], {}])
def test_a_message_without_data_is_an_empty_one(data: Any) -> None:
    assert parse_push(push(data=data)).data == b""
