"""The request log of a function: what Cloud Run writes, from a place before the function."""

import base64
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from infra.local.serving.asgi import serve
from shared.adapters.clock import SystemClock
from shared.domain.hooks import read_hook_path

_SECONDS = 120.0
_HOP_HEADERS = {"host", "content-length", "connection", "transfer-encoding"}

#: The run that a request is about, by its path, its headers and its body; None for none.
RunOf: TypeAlias = Callable[[str, Mapping[str, str], bytes], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One request that was answered; its times are those of `time.perf_counter`, in seconds."""

    run_id: str | None
    begun: float
    ended: float
    status: int

    @property
    def seconds(self) -> float:
        """For so long an instance had the request."""
        return self.ended - self.begun


@dataclass(slots=True, kw_only=True)
class RequestLog:
    """All requests that one function got."""

    run_of: RunOf
    entries: list[Answered] = field(default_factory=list)

    def of(self, run_id: str) -> list[Answered]:
        """Those about this run, in the order of their answers."""
        return [entry for entry in self.entries if entry.run_id == run_id]

    @asynccontextmanager
    async def detour(self, target_url: str) -> AsyncIterator[str]:
        """Stand before this URL."""
        async with httpx2.AsyncClient(trust_env=False, timeout=_SECONDS) as client:

            async def forward(request: Request) -> Response:
                body = await request.body()
                headers = {
                    name: value
                    for name, value in request.headers.items()
                    if name not in _HOP_HEADERS
                }
                path = request.url.path
                begun = time.perf_counter()
                answer = await client.post(f"{target_url}{path}", content=body, headers=headers)
                self.entries.append(
                    Answered(
                        run_id=self.run_of(path, headers, body),
                        begun=begun,
                        ended=time.perf_counter(),
                        status=answer.status_code,
                    )
                )
                return Response(answer.content, status_code=answer.status_code)

            app = Starlette(routes=[Route("/{path:path}", forward, methods=["POST"])])
            async with serve(app, name="request log") as url:
                yield url


def run_of_push(_path: str, _headers: Mapping[str, str], body: bytes) -> str | None:
    """The run in a job's message."""
    message = json.loads(base64.b64decode(json.loads(body)["message"]["data"]))
    return str(message["runId"])


def run_of_event(_path: str, headers: Mapping[str, str], _body: bytes) -> str | None:
    """The run whose document an event is about."""
    return headers["ce-document"].rpartition("/")[2]


def run_of_hook(secret: str) -> RunOf:
    """The run in a hook's address."""

    def run_of(path: str, _headers: Mapping[str, str], _body: bytes) -> str | None:
        address = read_hook_path(path.removeprefix("/"), [secret], SystemClock().now())
        return address.run_id if address else None

    return run_of
