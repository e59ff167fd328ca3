"""What keeps everybody else on the machine and in the browser out of the console.

Other sites are kept out by the check of the host (DNS rebinding), by the cookie that is never
sent across sites, and by a token in every form; other users of the machine by the access key
in the link that was printed; scripts in what models wrote by the content security policy.
"""

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: https://cheatsheetseries.owasp.org/cheatsheets/Content_Security_Policy_Cheat_Sheet.html
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Mapping[str, str] = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    # With no-referrer, browsers send "null" for the origin of our own forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_HOSTS = ("127.0.0.1", "localhost")
_KEY = "key"


def _secret() -> str:
    return secrets.token_urlsafe(32)


@dataclass(frozen=True, slots=True)
class Secrets:
    """What only the operator's own browser knows; new for every process."""

    #: In the link that is printed; the browser then keeps it as a cookie.
    access_key: str = field(default_factory=_secret)
    #: In every form: another site cannot read it.
    form_token: str = field(default_factory=_secret)

    def is_form_token(self, given: str) -> bool:
        """Whether a form came from a page of this process."""
        return hmac.compare_digest(given.encode(), self.form_token.encode())

    def is_access_key(self, given: str) -> bool:
        """Whether the browser was opened by the printed link."""
        return hmac.compare_digest(given.encode(), self.access_key.encode())


class Guard:
    """Lets through what comes from the operator's own browser, and hardens every answer."""

    def __init__(self, app: ASGIApp, own: Secrets) -> None:
        self._app = app
        self._own = own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or let the application answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def hardened(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, hardened)

    def _refusal(self, scope: Scope) -> Response | None:
        """The answer to what is not let through."""
        headers, port = Headers(scope=scope), scope["server"][1]
        own_hosts = {f"{host}:{port}" for host in _HOSTS}
        if headers.get("host") not in own_hosts:
            return PlainTextResponse(
                "this server has no such host name", HTTPStatus.MISDIRECTED_REQUEST
            )
        origin = headers.get("origin")
        if origin is not None and origin not in {f"http://{host}" for host in own_hosts}:
            return PlainTextResponse("another site asks", HTTPStatus.FORBIDDEN)
        cookie = f"worker_llm_{port}"
        if self._own.is_access_key(_cookie(headers.get("cookie", ""), cookie)):
            return None
        query = parse_qs(scope["query_string"].decode("latin-1"))
        if not self._own.is_access_key(query.get(_KEY, [""])[0]):
            text = "open the link that `worker-llm console` or `worker-llm up` printed"
            return PlainTextResponse(text, HTTPStatus.FORBIDDEN)
        # The key leaves the address bar, and with it the history.
        answer = RedirectResponse(scope["path"], HTTPStatus.SEE_OTHER)
        answer.set_cookie(cookie, self._own.access_key, httponly=True, samesite="strict")
        return answer


def _cookie(header: str, name: str) -> str:
    try:
        found = SimpleCookie(header).get(name)
    except CookieError:
        return ""
    return found.value if found else ""
