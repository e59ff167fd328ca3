"""The guard of every HTTP entry point: one log entry, the right status, and no traceback.

What a library says of an error may quote the request, and the server would print it.
"""

from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from shared.domain.defects import place_of
from shared.domain.errors import InternalError
from shared.log import EventLogger, LogEvent

_CE_PREFIX = "ce-"
_NEEDED = ("id", "type", "source")


class NotAnEvent(Exception):
    """The request is no CloudEvent in binary mode; says why, never what was in it."""


async def answered(
    act: Callable[[], Awaitable[Response]], log: EventLogger, event: LogEvent
) -> Response:
    """The response to a request, whatever happens while it is made.

    Args:
        act: reads the request and acts on it.
        log: where a failure is told.
        event: the entry that tells it.
    """
    try:
        return await act()
    except ClientDisconnect:
        log.warning(event, "the caller left before its request was whole")
        return Response(status_code=HTTPStatus.BAD_REQUEST)
    except Exception as defect:  # noqa: BLE001 -- the server would print what it says
        log.error(event, place_of(defect), code=InternalError.code)
        return Response(status_code=HTTPStatus.INTERNAL_SERVER_ERROR)


def cloud_event_attributes(request: Request) -> Mapping[str, str]:
    """The context attributes of a CloudEvent in binary mode.

    https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md

    Raises:
        NotAnEvent: one of those that every event has is missing.
    """
    attributes = {
        name.removeprefix(_CE_PREFIX): value
        for name, value in request.headers.items()
        if name.startswith(_CE_PREFIX)
    }
    missing = [name for name in _NEEDED if not attributes.get(name)]
    if missing:
        raise NotAnEvent(f"without the headers {', '.join(_CE_PREFIX + n for n in missing)}")
    attributes["datacontenttype"] = request.headers.get("content-type", "")
    return attributes
