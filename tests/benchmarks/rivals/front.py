"""How the driver reaches a rival that has no HTTP interface of its own."""

import asyncio
import os
from collections.abc import Callable, Mapping

from hypercorn.asyncio import serve
from hypercorn.config import Config
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


def run_front(
    *,
    deliver: Callable[[str], None],
    outcomes: Callable[[], Mapping[str, str]],
    operations: Callable[[], int],
) -> None:
    """Serve deliveries on `PORT` until the process ends.

    `POST /deliver/{step}` answers once the framework has taken the step over,
    `GET /outcomes` gives what is recorded by step, `GET /operations` a count so far.
    """

    def take(request: Request) -> Response:
        deliver(request.path_params["step"])
        return Response(status_code=204)

    def tell(_: Request) -> Response:
        return JSONResponse(dict(outcomes()))

    def count(_: Request) -> Response:
        return JSONResponse(operations())

    app = Starlette(
        routes=[
            Route("/deliver/{step}", take, methods=["POST"]),
            Route("/outcomes", tell),
            Route("/operations", count),
        ]
    )
    config = Config()
    config.bind = [f"127.0.0.1:{os.environ['PORT']}"]
    asyncio.run(serve(app, config))  # type: ignore[arg-type,unused-ignore]
