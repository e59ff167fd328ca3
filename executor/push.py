"""Reading a Pub/Sub push request."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Pub/Sub's own limit for a message is 10 MB; a job message is far below a kilobyte.
MAX_BODY_BYTES = 1_048_576


class PushUnreadable(Exception):
    """The request is no Pub/Sub push; says why, never what was in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One delivery of a message."""

    data: bytes
    attributes: Mapping[str, str]
    message_id: str
    #: From 1; None where the subscription has no dead-letter policy, and on the emulator.
    attempt: int | None


def parse_push(body: bytes) -> Delivery:
    """The delivery in the body of a push request in its wrapped form.

    https://cloud.google.com/pubsub/docs/push#receive_push

    Raises:
        PushUnreadable: no such request.
    """
    if len(body) > MAX_BODY_BYTES:
        raise PushUnreadable(f"{len(body)} bytes, at most {MAX_BODY_BYTES} are read")
    try:
        envelope = json.loads(body)
    except (ValueError, RecursionError):
        raise PushUnreadable("the body is not JSON") from None
    message = envelope.get("message") if isinstance(envelope, dict) else None
    if not isinstance(message, dict):
        raise PushUnreadable('the body has no "message": is the push unwrapped?')
    attributes = message.get("attributes")
    attempt = envelope.get("deliveryAttempt")
    return Delivery(
        data=_data(message.get("data", "")),
        attributes=_strings(attributes) if isinstance(attributes, dict) else {},
        message_id=str(message.get("messageId", ""))[:128],
        attempt=attempt if isinstance(attempt, int) else None,
    )


def _data(text: object) -> bytes:
    try:
        return base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        raise PushUnreadable("message.data is not base64") from None


def _strings(attributes: dict[str, Any]) -> dict[str, str]:
    return {name: value for name, value in attributes.items() if isinstance(value, str)}
