"""An HTTP server that answers every request in the same way, mostly badly."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus
from typing import cast

from infra.local.serving.free_ports import LOOPBACK

Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(how: Answering) -> AsyncIterator[str]:
    """A server that answers so; yields its URL, and leaves no connection open at its end."""
    under_way: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        under_way[writer] = cast("asyncio.Task[None]", asyncio.current_task())
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await how(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    try:
        yield f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        # A connection that was just accepted is served three turns of the loop later.
        await _turns(3)
        for writer, task in under_way.items():
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*under_way.values(), return_exceptions=True)
        # An aborted connection closes its socket in the next turn.
        await _turns(1)


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def request(reader: asyncio.StreamReader) -> bytes:
    """One request with its body; its first line is returned."""
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line for line in head.split(b"\r\n") if line.lower().startswith(b"content-l")]
    if lengths:
        await reader.readexactly(int(lengths[0].split(b":")[1]))
    return head.split(b"\r\n", 1)[0]


def answer(status: int, body: bytes = b"{}", *more: str) -> bytes:
    """An answer, as it goes over the wire."""
    phrase = HTTPStatus(status).phrase
    lines = [f"HTTP/1.1 {status} {phrase}", f"Content-Length: {len(body)}", *more]
    return "\r\n".join([*lines, "", ""]).encode() + body


def always(status: int) -> Answering:
    """Answers with this status."""

    async def how(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request(reader)
            writer.write(answer(status))

    return how


async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Never answers."""
    await request(reader)
    await asyncio.Event().wait()


async def drip_headers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Begins to answer, and never comes to the end of a header."""
    await request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    await _dripping(writer)


async def drip_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers byte by byte."""
    await request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n")
    await _dripping(writer)


async def _dripping(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.05)


async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Breaks off in the middle of its answer."""
    await request(reader)
    writer.write(answer(200, b"x" * 2_000)[:-1_000])


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers what is no HTTP."""
    await request(reader)
    writer.write(b"\x00\xff\x00 not HTTP at all\r\n\r\n")
