"""A gRPC server all of whose methods behave in the same way, mostly badly."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.cloud.firestore_v1.types import RunQueryResponse

from infra.local.serving.free_ports import LOOPBACK

#: What no error of ours may repeat.
CANARY = "canary-4711"
Behavior = Callable[[Any], AsyncIterator[bytes]]


def failing(status: Any) -> Behavior:
    """Answers with this status."""

    async def behave(context: Any) -> AsyncIterator[bytes]:
        await context.abort(status, CANARY)
        yield b""

    return behave


async def hang(_: Any) -> AsyncIterator[bytes]:
    """Never answers."""
    await asyncio.Event().wait()
    yield b""


async def drip(_: Any) -> AsyncIterator[bytes]:
    """Answers a little, again and again."""
    while True:
        # A query's progress: an answer without a document.
        yield RunQueryResponse.pb(RunQueryResponse(skipped_results=1)).SerializeToString()
        await asyncio.sleep(0.05)


async def garbage(_: Any) -> AsyncIterator[bytes]:
    """Answers what is no message."""
    yield b"\xff\xff\xff\xff"


@asynccontextmanager
async def serving(behave: Behavior) -> AsyncIterator[str]:
    """A server whose every method behaves so; yields host:port."""

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]  # untyped library
        def service(self, _: Any) -> Any:
            async def answer(requests: Any, context: Any) -> AsyncIterator[bytes]:
                del requests
                async for message in behave(context):
                    yield message

            return grpc.stream_stream_rpc_method_handler(answer)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers([Handler()])
    port = server.add_insecure_port(f"{LOOPBACK}:0")
    await server.start()
    try:
        yield f"{LOOPBACK}:{port}"
    finally:
        await server.stop(None)
