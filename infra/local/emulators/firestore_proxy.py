"""A gRPC relay in front of the Firestore emulator: it counts the worker's calls.

Counting on the wire sees what the client library sends, its hidden retries included, and the
functions need no code for it. It can also lose an answer on demand, as a network does: the
call is applied and the caller told that the service is unavailable.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from infra.local.serving.free_ports import LOOPBACK

_STOP_SECONDS = 1.0
#: Documents have at most 1 MiB; an answer may hold many of them.
_MAX_MESSAGE_BYTES = 64 * 1024 * 1024
_OPTIONS = [
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
]
#: Set by gRPC itself, call by call.
_HOP_HEADERS = frozenset({"user-agent", "te", "content-type", "grpc-timeout"})


@dataclass(slots=True, kw_only=True)
class FirestoreProxy:
    """The relay while it runs; method names are short, such as `Commit`."""

    #: Where it listens, host:port.
    address: str = ""
    calls: Counter[str] = field(default_factory=Counter)
    #: Of the messages themselves, by method.
    request_bytes: Counter[str] = field(default_factory=Counter)
    answer_bytes: Counter[str] = field(default_factory=Counter)
    #: How many of the next answers of a method are lost.
    answers_to_lose: Counter[str] = field(default_factory=Counter)
    #: Awaited with each call's method before it is passed on, and before its answer is.
    on_request: Callable[[str], Awaitable[None]] | None = None
    on_answer: Callable[[str], Awaitable[None]] | None = None

    @property
    def total_calls(self) -> int:
        """Calls of all methods so far."""
        return self.calls.total()


@asynccontextmanager
async def firestore_proxy(target: str) -> AsyncIterator[FirestoreProxy]:
    """Relay to the emulator at host:port while the block lasts."""
    proxy, server = FirestoreProxy(), grpc.aio.server(options=_OPTIONS)
    async with grpc.aio.insecure_channel(target, options=_OPTIONS) as channel:
        server.add_generic_rpc_handlers([_Forwarding(proxy, channel)])
        proxy.address = f"{LOOPBACK}:{server.add_insecure_port(f'{LOOPBACK}:0')}"
        await server.start()
        try:
            yield proxy
        finally:
            await server.stop(_STOP_SECONDS)


class _Forwarding(grpc.GenericRpcHandler):  # type: ignore[misc]  # untyped library
    """Passes every method on as a stream of bytes: on the wire, one message is one too."""

    def __init__(self, proxy: FirestoreProxy, channel: Any) -> None:
        self._proxy = proxy
        self._channel = channel

    def service(self, handler_call_details: Any) -> Any:
        method = handler_call_details.method

        async def forward(requests: Any, context: Any) -> AsyncIterator[bytes]:
            name = method.rpartition("/")[2]
            self._proxy.calls[name] += 1
            if self._proxy.on_request is not None:
                await self._proxy.on_request(name)
            call = self._channel.stream_stream(method)(
                self._weighed(requests, name),
                metadata=_metadata(context.invocation_metadata()),
                timeout=context.time_remaining(),
            )
            try:
                answers = [answer async for answer in call]
            except grpc.aio.AioRpcError as error:
                trailing = tuple(error.trailing_metadata() or ())
                await context.abort(error.code(), error.details(), trailing)
                return
            self._proxy.answer_bytes[name] += sum(map(len, answers))
            if self._proxy.on_answer is not None:
                await self._proxy.on_answer(name)
            if self._proxy.answers_to_lose[name] > 0:
                self._proxy.answers_to_lose[name] -= 1
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the answer was lost")
            for answer in answers:
                yield answer

        return grpc.stream_stream_rpc_method_handler(forward)

    async def _weighed(self, requests: Any, name: str) -> AsyncIterator[bytes]:
        async for request in requests:
            self._proxy.request_bytes[name] += len(request)
            yield request


def _metadata(received: Any) -> list[tuple[str, Any]]:
    return [(key, value) for key, value in received if key not in _HOP_HEADERS]
