"""What stands before the model and the storage server: it counts calls and holds some."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HELD_AT_MOST_SECONDS = 90.0


class Point(StrEnum):
    """Where on a step's path its worker is killed."""

    BEGIN = "background call begun, its id not yet received"
    CALL = "during the call"
    ANSWER = "after the model's answer, before it is received"
    UPLOAD = "answer received, report not stored"
    STORED = "report stored, outcome not recorded"


@dataclass(slots=True, kw_only=True)
class Gate:
    """Holds requests at one point until their sender is dead; passes all others on."""

    #: Calls that the model got so far; looks for a background call's answer are none.
    calls: int = 0
    held: int = 0
    _point: Point | None = None
    _wanted: int = 0
    _full: asyncio.Event = field(default_factory=asyncio.Event)
    _open: asyncio.Event = field(default_factory=asyncio.Event)

    def close(self, point: Point, wanted: int) -> None:
        """Hold what comes to this point from now on."""
        self._point, self._wanted, self.held = point, wanted, 0
        self._full, self._open = asyncio.Event(), asyncio.Event()

    async def full(self, *, within_seconds: float) -> None:
        """Wait until as many requests as wanted are held, or for so long."""
        try:
            async with asyncio.timeout(within_seconds):
                await self._full.wait()
        except TimeoutError:
            return

    def open(self) -> None:
        """Hold nothing any more."""
        self._point = None
        self._open.set()

    async def _reached(self, point: Point) -> bool:
        if point is not self._point:
            return False
        opened = self._open
        self.held += 1
        if self.held >= self._wanted:
            self._full.set()
        async with asyncio.timeout(_HELD_AT_MOST_SECONDS):
            await opened.wait()
        return True

    def model(self, app: ASGIApp) -> ASGIApp:
        """The stand-in behind the gate."""

        async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
            path, method = scope.get("path", ""), scope.get("method")
            begins = method == "POST" and path.endswith("/interactions")
            whole = method == "POST" and path.endswith(":generateContent")
            look = method == "GET" and "/interactions/" in path
            self.calls += begins or whole
            if whole or look:
                await self._reached(Point.CALL)
            started: list[Message] = []

            async def answer(message: Message) -> None:
                if message["type"] == "http.response.start" and (begins or whole):
                    await self._reached(Point.BEGIN if begins else Point.ANSWER)
                if look and message["type"] == "http.response.start":
                    started.append(message)
                    return
                if look:
                    if b'"completed"' in message.get("body", b""):
                        await self._reached(Point.ANSWER)
                    while started:
                        await send(started.pop())
                await send(message)

            # The sender may be dead by now.
            with suppress(ClientDisconnect):
                await app(scope, receive, answer)

        return wrapped

    def storage(self, app: ASGIApp) -> ASGIApp:
        """The storage server behind the gate."""

        async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
            uploads = scope["type"] == "http" and scope["path"].startswith("/upload/")

            async def answer(message: Message) -> None:
                if uploads and message["type"] == "http.response.start":
                    await self._reached(Point.STORED)
                await send(message)

            # An upload whose sender died does not arrive.
            if not (uploads and await self._reached(Point.UPLOAD)):
                await app(scope, receive, answer)

        return wrapped
