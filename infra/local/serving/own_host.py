"""Keeping web pages away from servers of this machine.

A page in somebody's browser may send requests to loopback addresses. A form or a script of
another site shows by its origin. A host name that was made to lead here (DNS rebinding) shows
by the `Host` header, which is none of ours.
"""

from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})


class OwnHostOnly:
    """Lets through what comes from programs of this machine."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the application answer."""
        refusal = _refusal(Headers(scope=scope)) if scope["type"] == "http" else None
        await (refusal or self._app)(scope, receive, send)


def _refusal(headers: Headers) -> Response | None:
    """The answer to what is not let through."""
    host = headers.get("host", "")
    if _name(f"//{host}") not in LOOPBACK_NAMES:
        return PlainTextResponse(
            "this server has no such host name", HTTPStatus.MISDIRECTED_REQUEST
        )
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        return PlainTextResponse("another site asks", HTTPStatus.FORBIDDEN)
    # Browsers say so also where they name no origin.
    if headers.get("sec-fetch-site", "none") not in {"none", "same-origin"}:
        return PlainTextResponse("another site asks", HTTPStatus.FORBIDDEN)
    return None


def _name(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
