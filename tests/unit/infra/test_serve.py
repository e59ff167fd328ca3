"""The local servers' connections."""

import socket

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from infra.local.serving.asgi import serve


async def test_an_answer_does_not_wait_for_the_acknowledgement_of_its_beginning() -> None:
    """Nagle's algorithm must be off: it would add 40 ms to answers of more than one segment."""

    async def no_delay(request: Request) -> Response:
        connection = request.scope["state"]["transport"].get_extra_info("socket")
        return Response(str(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))

    app = Starlette(routes=[Route("/", no_delay)])
    async with serve(app, name="server") as url, httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.get(url)

    assert answer.text == "1"
