"""Events as the official Firestore emulator sends them, turned into production's.

The emulator posts each document write to the address given with `--functions_emulator`, once
a trigger is registered. It sends the body as base64 text, doubles `projects/` in the source
and puts document ids into headers as they are.
"""

import base64
import logging
from collections.abc import Mapping
from typing import Protocol

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from infra.failures import CannotBeDone
from infra.local.cloud.cloud_events import (
    CONTENT_TYPE,
    EVENT_TYPE,
    CloudEventMessage,
    header_value,
)

_log = logging.getLogger(__name__)
#: The emulator's first request may take long on a machine that is busy.
_REGISTER_SECONDS = 60.0
#: Tags of the three fields of DocumentEventData: value, old_value, update_mask.
_FIRST_BYTES = b"\x0a\x12\x1a"
# The binary mode maps this attribute to the Content-Type header.
_REDUNDANT = "ce-datacontenttype"


class TriggerRefused(CannotBeDone):
    """The emulator did not take the registration of the trigger."""


class EventTaker(Protocol):
    """Where the events go: a `Relay`, or what finds the right one of several."""

    def submit(self, message: CloudEventMessage) -> bool:
        """Take an event without waiting; false when it is refused."""


def create_app(relay: EventTaker, *, project: str | None = None) -> Starlette:
    """Return the server that the emulator delivers to; it answers before the relay delivers.

    With `project`, events of other projects in the same emulator are acknowledged and
    ignored. A body that is no event answers 400, an event the relay refuses 503; the emulator
    retries neither.
    """

    async def take(request: Request) -> Response:
        if project not in (None, request.path_params["project"]):
            return Response()
        try:
            body = raw_event(await request.body())
        except ValueError:
            _log.exception("the Firestore emulator sent something that is no event")
            return Response(status_code=400)
        message = CloudEventMessage(headers=production_headers(request.headers), body=body)
        return Response(status_code=200 if relay.submit(message) else 503)

    path = "/functions/projects/{project}/triggers/{trigger}"
    return Starlette(routes=[Route(path, take, methods=["POST"])])


def raw_event(body: bytes) -> bytes:
    """Return the protobuf's bytes, from themselves or from their base64 text.

    Raises:
        ValueError: The body is neither.
    """
    if body[:1] and body[:1] in _FIRST_BYTES:
        return body
    decoded = base64.b64decode(body, validate=True)
    if not decoded or decoded[:1] not in _FIRST_BYTES:
        raise ValueError("the body does not begin as a document event")
    return decoded


def production_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the event's attributes as production sends them, without transport headers."""
    attributes = {
        name: header_value(_utf8(value))
        for name, value in headers.items()
        if name.startswith("ce-") and name != _REDUNDANT
    }
    source = attributes.get("ce-source", "").replace("/projects/projects/", "/projects/", 1)
    return attributes | {"ce-source": source, "content-type": CONTENT_TYPE}


async def register_trigger(
    emulator_host: str,
    project: str,
    *,
    database: str = "(default)",
    collection: str = "flow_runs",
) -> None:
    """Have the emulator at `host:port` send the events of every document of the collection.

    Registering again replaces the earlier registration.

    Raises:
        TriggerRefused: The emulator could not be reached or answered otherwise than 2xx.
    """
    url = f"http://{emulator_host}/emulator/v1/projects/{project}/eventarcTrigger"
    trigger = {
        "eventType": EVENT_TYPE,
        # Without it the registration is taken, and then every commit answers 500.
        "database": database,
        "namespace": "(default)",
        "document": {"value": f"{collection}/{{documentId}}", "matchType": "PATH_PATTERN"},
    }
    try:
        async with httpx2.AsyncClient(trust_env=False, timeout=_REGISTER_SECONDS) as client:
            answer = await client.post(
                url, params={"eventarcTriggerId": f"{collection}-written"}, json=trigger
            )
            answer.raise_for_status()
    except httpx2.HTTPError as error:
        raise TriggerRefused(
            f"no events for {collection} from the emulator: {error!r}"
        ) from error


def _utf8(header: str) -> str:
    """Undo the server's reading of the header as Latin-1, which is what HTTP says it is."""
    return header.encode("latin-1").decode("utf-8", errors="replace")
