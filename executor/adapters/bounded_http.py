"""HTTP bodies that are read up to a bound: no answer of any server fills the memory."""

from typing import Any

import httpx2
import requests
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

#: Room for twice the longest text that is read as a report: in JSON, each character of it may
#: be an escape of two, or a letter of two bytes. The longest answer that a model of today makes
#: is some twenty times shorter (https://ai.google.dev/gemini-api/docs/models).
MAX_ANSWER_BYTES = 8_388_608
#: What a server says about an object, a token or an error; each is a few KiB.
MAX_SMALL_BODY_BYTES = 1_048_576
_CHUNK_BYTES = 65_536


class BodyTooLong(requests.RequestException):
    """The body of an answer was longer than what is read of it."""


async def body_within(response: httpx2.Response, most_bytes: int) -> bytes | None:
    """The body of an answer that is being received; None where it is longer.

    What is left of a longer one is not read: the caller closes the answer.
    """
    body = bytearray()
    async for part in response.aiter_bytes():
        if len(body) + len(part) > most_bytes:
            return None
        body += part
    return bytes(body)


class BoundedAdapter(HTTPAdapter):
    """The transport of a `requests` session that reads no body beyond a bound.

    A body that the caller takes in by pieces is left to it, unless it is that of an error,
    which the caller's library reads whole.
    """

    most_bytes = MAX_SMALL_BODY_BYTES

    def send(self, request: PreparedRequest, *given: Any, **named: Any) -> Response:
        """As the base class does; a session names its arguments.

        Raises:
            BodyTooLong: the body of a success is longer than the bound.
        """
        response = super().send(request, *given, **named)
        self.received(response)
        if not named.get("stream") or not response.ok:
            self._take_in(response)
        return response

    def received(self, response: Response) -> None:
        """Called with each answer, before its body is read."""

    def _take_in(self, response: Response) -> None:
        body = bytearray()
        for part in response.iter_content(_CHUNK_BYTES):
            if len(body) + len(part) <= self.most_bytes:
                body += part
                continue
            response.close()
            if response.ok:
                raise BodyTooLong(response=response)
            # The status says what matters.
            body.clear()
            break
        response._content = bytes(body)  # noqa: SLF001 - where the library itself keeps it


class LongBodiesAdapter(BoundedAdapter):
    """The same for lists of resources, of which a page may be long."""

    most_bytes = MAX_ANSWER_BYTES


def bounded(session: requests.Session, adapter: HTTPAdapter) -> requests.Session:
    """The session, with all of its requests going through the adapter."""
    for scheme in ("https://", "http://"):
        session.mount(scheme, adapter)
    return session
