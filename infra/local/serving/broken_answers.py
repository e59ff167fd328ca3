"""Answers as a failing network gives them: late, slow, cut short or not at all.

Both local servers use them to play faults over real sockets. Each wraps a proper response (or
none) and works under `infra.local.serving.asgi`.
"""

import asyncio
import contextlib

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from infra.local.serving.asgi import reset_connection


class NoAnswer(Response):
    """Nothing at all, until the client goes away."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait for the client to leave."""
        del scope, send
        await _gone(receive)


class LostAnswer(Response):
    """The connection is reset before the first byte of the answer."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reset the connection."""
        del send
        reset_connection(scope)
        await _gone(receive)


class CutAnswer(Response):
    """The headers promise the whole answer; the connection is reset after part of it."""

    def __init__(self, whole: Response, *, share: float) -> None:
        super().__init__()
        self.whole = whole
        self.kept = bytes(whole.body)[: int(len(whole.body) * share)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the kept part, then reset the connection."""
        await _begin(self.whole, send)
        await send({"type": "http.response.body", "body": self.kept, "more_body": True})
        reset_connection(scope)
        await _gone(receive)


class DrippedAnswer(Response):
    """The whole answer, piece by piece, over so many seconds."""

    def __init__(self, whole: Response, *, seconds: float, pieces: int) -> None:
        super().__init__()
        self.whole = whole
        self.pause_seconds = seconds / pieces
        self.step = max(1, -(-len(whole.body) // pieces))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send piece after piece, unless the client leaves."""
        del scope
        await _begin(self.whole, send)
        body = bytes(self.whole.body)
        for start in range(0, len(body), self.step):
            if await _gone_within(self.pause_seconds, receive):
                return
            piece = body[start : start + self.step]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


class LongAnswer(Response):
    """The whole answer and then spaces, which no reader of JSON minds, until nobody reads."""

    def __init__(self, whole: Response, *, mebibytes: int) -> None:
        super().__init__()
        self.whole = whole
        self.pieces = mebibytes * 16

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send piece after piece, unless the client leaves."""
        del scope
        del self.whole.headers["content-length"]
        await _begin(self.whole, send)
        piece = bytes(self.whole.body)
        for _ in range(self.pieces):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            if await _gone_within(0, receive):
                return
            piece = b" " * 65_536
        await send({"type": "http.response.body", "body": b""})


async def _begin(response: Response, send: Send) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": response.status_code,
            "headers": response.raw_headers,
        }
    )


async def _gone(receive: Receive) -> None:
    # Ends when the client does: at the latest when the server stops and drops the connection.
    while (await receive())["type"] != "http.disconnect":
        pass


async def _gone_within(seconds: float, receive: Receive) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await _gone(receive)
            return True
    return False
