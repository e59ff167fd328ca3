"""Pub/Sub push at the edge: a request is parsed into a delivery, an answer becomes a status."""

import base64
import binascii
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Any, TypeAlias

from shared.domain.defects import place_of
from shared.domain.errors import InternalError
from shared.domain.numbers import with_whole_numbers
from shared.log import EventLogger, LogEvent


class Answer(Enum):
    """What becomes of a delivered message."""

    #: It is done with: Pub/Sub forgets it.
    ACK = HTTPStatus.NO_CONTENT
    #: Pub/Sub delivers it again, later.
    AGAIN = HTTPStatus.SERVICE_UNAVAILABLE


#: Takes a delivery and says what becomes of its message.
DeliveryHandler: TypeAlias = Callable[["Delivery"], Awaitable[Answer]]

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


async def answer_push(body: bytes, handle: DeliveryHandler, log: EventLogger) -> int:
    """The HTTP status that answers a push request.

    204 acknowledges the message, 503 or, after a defect, 500 asks for it again, 400 says
    that the request is no Pub/Sub push.
    """
    try:
        delivery = parse_push(body)
    except PushUnreadable as problem:
        log.error(LogEvent.JOB_REJECTED, str(problem), reason="not_a_push")
        return HTTPStatus.BAD_REQUEST
    try:
        answer = await handle(delivery)
    except Exception as defect:  # noqa: BLE001 - the server would log what it says
        log.error(LogEvent.JOB_DEFERRED, place_of(defect), code=InternalError.code)
        return HTTPStatus.INTERNAL_SERVER_ERROR
    return answer.value


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
    attempt = with_whole_numbers(envelope.get("deliveryAttempt"))
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
