"""The HTTP side of the Gemini stand-in."""

import json
from collections.abc import Iterable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infra.local.gemini.calls import Calls
from infra.local.gemini.faults import FaultRule, Faults, fault_rules
from infra.local.gemini.generate_content import GenerateContent
from infra.local.gemini.interactions import Interactions

_MODELS = "/{version}/models/{call}"
_VERTEX_MODELS = (
    "/{version}/projects/{project}/locations/{location}/publishers/google/models/{call}"
)


def create_app(*, latency_seconds: float = 0.2, faults: Iterable[FaultRule] = ()) -> Starlette:
    """The stand-in; it answers after this latency.

    `app.state.faults` is its `Faults`, `app.state.calls` its `Calls`, `app.state.interactions`
    its `Interactions`. From other processes:
    `POST /control/faults` takes a list of `FaultRule`s, `DELETE /control/faults` drops them,
    `GET /control/requests` gives counts by model.
    """
    control = _Control(Faults(faults), Calls())
    generate = GenerateContent(control.faults, control.calls, latency_seconds)
    interactions = Interactions(
        faults=control.faults, calls=control.calls, latency_seconds=latency_seconds
    )
    app = Starlette(
        routes=[
            Route("/", control.health),
            Route("/control/faults", control.set_faults, methods=["POST", "DELETE"]),
            Route("/control/requests", control.requests),
            Route(_MODELS, generate.respond, methods=["POST"]),
            Route(_VERTEX_MODELS, generate.respond, methods=["POST"]),
            *interactions.routes(),
        ]
    )
    app.state.faults, app.state.calls = control.faults, control.calls
    app.state.interactions = interactions
    return app


class _Control:
    def __init__(self, faults: Faults, calls: Calls) -> None:
        self.faults = faults
        self.calls = calls

    async def health(self, _: Request) -> Response:
        return JSONResponse({"status": "ready"})

    async def set_faults(self, request: Request) -> Response:
        if request.method == "DELETE":
            self.faults.clear()
            return JSONResponse({})
        try:
            self.faults.add(fault_rules(json.loads(await request.body())))
        except (ValueError, RecursionError) as problem:
            return JSONResponse({"error": str(problem)}, status_code=400)
        return JSONResponse({})

    async def requests(self, _: Request) -> Response:
        calls = self.calls
        return JSONResponse({"received": calls.received, "answered": calls.answered})
