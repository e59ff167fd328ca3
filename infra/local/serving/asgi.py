"""Serve an ASGI application on loopback inside the running event loop.

The local environment and the tests run several small servers side by side in one process.
Each takes its port before anything is started, so no other process can take it in between,
and each ends within a second however its clients behave.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

_HOST = "127.0.0.1"
_BACKLOG = 256
#: How long requests under way may go on after the server was told to stop.
_GRACE_SECONDS = 0.5
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@asynccontextmanager
async def serve(app: ASGIApp, *, port: int = 0, name: str) -> AsyncIterator[str]:
    """Serve the application on 127.0.0.1 for as long as the block runs; yields the base URL.

    Args:
        app: what to serve; its lifespan is run when it has one.
        port: 0 takes a free one.
        name: what messages call this server.

    Raises:
        OSError: the port is taken.
        RuntimeError: the application's own start-up failed.
    """
    with _listening(port, name) as listener:
        server = _Server(app, name)
        running = asyncio.create_task(server.serve(sockets=[listener]), name=f"serve {name}")
        try:
            await _first(running, asyncio.create_task(server.ready.wait()))
            yield f"http://{_HOST}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running


def reset_connection(scope: Scope) -> None:
    """End the request's connection with a TCP reset: what was not sent yet never is.

    Works for applications run by `serve` alone.
    """
    transport = scope["state"]["transport"]
    transport.get_extra_info("socket").setsockopt(
        socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE
    )
    transport.abort()


@contextlib.contextmanager
def _listening(port: int, name: str) -> Iterator[socket.socket]:
    # Only where the protocol is named does asyncio turn off Nagle's algorithm, which holds
    # the end of an answer back for the 40 ms of a delayed acknowledgement.
    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((_HOST, port))
        except OSError as error:
            message = f"the {name} cannot listen on port {port}: {error.strerror}"
            raise OSError(error.errno, message) from error
        listener.listen(_BACKLOG)
        yield listener


async def _first(running: asyncio.Task[None], ready: asyncio.Task[bool]) -> None:
    await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
    ready.cancel()
    if running.done():
        running.result()


class _Protocol(H11Protocol):
    """HTTP/1.1 that lets the application reach the transport, so that it can break it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn narrows it
        self.app_state = {**self.app_state, "transport": transport}
        super().connection_made(transport)


class _Server(uvicorn.Server):
    """A uvicorn server that leaves signals alone and does not wait for slow clients."""

    def __init__(self, app: ASGIApp, name: str) -> None:
        super().__init__(
            uvicorn.Config(
                self._serve_one,
                interface="asgi3",
                http=_Protocol,
                ws="none",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
            )
        )
        self.ready = asyncio.Event()
        self._app = app
        self._name = name
        self._stopping = False

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        except SystemExit as stop:
            raise RuntimeError(f"the {self._name} did not start") from stop
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping = True
        loop = asyncio.get_running_loop()
        deadline = loop.call_later(_GRACE_SECONDS, self._drop_open_requests)
        await super().shutdown(sockets)
        deadline.cancel()

    def _drop_open_requests(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        for task in list(self.server_state.tasks):
            task.cancel()

    async def _serve_one(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._app(scope, receive, send)
        except asyncio.CancelledError:
            # Dropped on purpose: nothing that uvicorn should report as a failure.
            if not self._stopping:
                raise
