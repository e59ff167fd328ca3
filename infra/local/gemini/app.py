"""The HTTP side of the Gemini stand-in."""

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Lifespan

from infra.local.gemini.calls import Calls
from infra.local.gemini.effects import Effect, Effects, effects_in
from infra.local.gemini.faults import FaultRule, Faults, fault_rules
from infra.local.gemini.generate_content import GenerateContent
from infra.local.gemini.interactions import Interactions
from infra.local.gemini.tiers import Tiers, tier_rules
from infra.local.gemini.webhooks import Webhooks
from infra.local.serving.own_host import OwnHostOnly

_MODELS = "/{version}/models/{call}"
_VERTEX_MODELS = (
    "/{version}/projects/{project}/locations/{location}/publishers/google/models/{call}"
)


def create_app(
    *,
    latency_seconds: float = 0.2,
    faults: Iterable[FaultRule] = (),
    effects: Iterable[Effect] = (),
) -> Starlette:
    """The stand-in; it answers after this latency.

    `app.state.faults` is its `Faults`, `app.state.calls` its `Calls`, `app.state.interactions`
    its `Interactions`, `app.state.webhooks` its `Webhooks`. From other processes:
    `POST /control/faults` takes a list of `FaultRule`s, `DELETE /control/faults` drops them,
    `PUT /control/effects` takes the list of `Effect`s that are in force from now on,
    `PUT /control/tiers` the list of `TierRule`s,
    `GET /control/requests` gives counts by model.
    """
    control = _Control(Faults(faults), Effects(planted=tuple(effects)), Calls(), Tiers())
    generate = GenerateContent(
        control.faults, control.effects, control.calls, control.tiers, latency_seconds
    )
    webhooks = Webhooks(faults=control.faults)
    interactions = Interactions(
        faults=control.faults,
        calls=control.calls,
        tiers=control.tiers,
        webhooks=webhooks,
        latency_seconds=latency_seconds,
    )

    app = Starlette(
        routes=[
            *control.routes(),
            Route(_MODELS, generate.respond, methods=["POST"]),
            Route(_VERTEX_MODELS, generate.respond, methods=["POST"]),
            *interactions.routes(),
        ],
        middleware=[Middleware(OwnHostOnly)],
        lifespan=_until_closed(webhooks),
    )
    app.state.faults, app.state.calls = control.faults, control.calls
    app.state.interactions, app.state.tiers = interactions, control.tiers
    app.state.webhooks = webhooks
    return app


def _until_closed(webhooks: Webhooks) -> Lifespan[Starlette]:
    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await webhooks.aclose()

    return lifespan


class _Control:
    def __init__(self, faults: Faults, effects: Effects, calls: Calls, tiers: Tiers) -> None:
        self.faults = faults
        self.effects = effects
        self.calls = calls
        self.tiers = tiers

    def routes(self) -> list[Route]:
        return [
            Route("/", self.health),
            Route("/control/faults", self.set_faults, methods=["POST", "DELETE"]),
            Route("/control/effects", self.set_effects, methods=["PUT"]),
            Route("/control/tiers", self.set_tiers, methods=["PUT"]),
            Route("/control/requests", self.requests),
        ]

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

    async def set_effects(self, request: Request) -> Response:
        try:
            self.effects.planted = effects_in(json.loads(await request.body()))
        except (ValueError, RecursionError) as problem:
            return JSONResponse({"error": str(problem)}, status_code=400)
        return JSONResponse({})

    async def set_tiers(self, request: Request) -> Response:
        try:
            self.tiers.set(tier_rules(json.loads(await request.body())))
        except (TypeError, ValueError, RecursionError) as problem:
            return JSONResponse({"error": str(problem)}, status_code=400)
        return JSONResponse({})

    async def requests(self, _: Request) -> Response:
        calls = self.calls
        return JSONResponse({"received": calls.received, "answered": calls.answered})
