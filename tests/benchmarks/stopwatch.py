"""A proxy before a function, which times the requests that it passes on."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from infra.local.serving.asgi import serve

_SECONDS = 120.0
_HOP_HEADERS = {"host", "content-length", "connection", "transfer-encoding"}


@dataclass(slots=True)
class Stopwatch:
    """Times of the requests that were passed on, in seconds."""

    times: list[float] = field(default_factory=list)

    @asynccontextmanager
    async def detour(self, target_url: str) -> AsyncIterator[str]:
        """Run before this URL."""
        async with httpx2.AsyncClient(trust_env=False, timeout=_SECONDS) as client:

            async def forward(request: Request) -> Response:
                body = await request.body()
                headers = {
                    name: value
                    for name, value in request.headers.items()
                    if name not in _HOP_HEADERS
                }
                begun = time.perf_counter()
                answer = await client.post(target_url, content=body, headers=headers)
                self.times.append(time.perf_counter() - begun)
                return Response(status_code=answer.status_code)

            app = Starlette(routes=[Route("/", forward, methods=["POST"])])
            async with serve(app, name="stopwatch") as url:
                yield url
