"""The stand-in's webhooks: sent to the address of the call, as often as a rule wants."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dispatcher.webhook_signatures import is_signed, verifiers
from infra.local.gemini import create_app
from infra.local.gemini.faults import Asked, FaultKind, FaultRule
from infra.local.gemini.webhooks import announcement
from infra.local.serving.asgi import serve
from shared.adapters.clock import SystemClock

MODEL = "gemini-3.5-flash"
PATIENCE_SECONDS = 60.0


@dataclass(slots=True)
class Listener:
    """Takes hooks, but refuses the first `refusals` of them."""

    refusals: int = 0
    url: str = ""
    heard: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    taken: list[tuple[Mapping[str, str], bytes]] = field(default_factory=list)
    refused: list[tuple[Mapping[str, str], bytes]] = field(default_factory=list)

    async def take(self, request: Request) -> Response:
        told = dict(request.headers), await request.body()
        if len(self.refused) < self.refusals:
            self.refused.append(told)
            return Response(status_code=503)
        self.taken.append(told)
        self.heard.release()
        return Response(status_code=204)

    async def hears(self, more: int = 1) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            for _ in range(more):
                await self.heard.acquire()


@dataclass(frozen=True, slots=True)
class Site:
    """The stand-in, and the listener to its hooks."""

    state: Any
    client: httpx2.AsyncClient
    listener: Listener

    async def begin(self, *uris: str, **fields: Any) -> str:
        config = {"uris": list(uris or [self.listener.url]), **fields}
        asked = {
            "model": MODEL,
            "input": [{"type": "user_input", "content": [{"type": "text", "text": "Look."}]}],
            "background": True,
            "store": True,
            "webhook_config": config,
        }
        answer = await self.client.post(
            "/v1/interactions", json=asked, headers={"x-goog-api-key": "key"}
        )
        return str(answer.json()["id"])


@asynccontextmanager
async def site(*rules: FaultRule, refusals: int = 0, seconds: float = 0) -> AsyncIterator[Site]:
    listener = Listener(refusals)
    hears = Starlette(routes=[Route("/{path}", listener.take, methods=["POST"])])
    app = create_app(latency_seconds=seconds, faults=rules)
    async with (
        serve(hears, name="listener") as heard_at,
        serve(app, name="Gemini stand-in") as url,
        httpx2.AsyncClient(base_url=url, trust_env=False, timeout=PATIENCE_SECONDS) as client,
    ):
        listener.url = f"{heard_at}/hook"
        yield Site(app.state, client, listener)


def hook(kind: FaultKind, **more: Any) -> FaultRule:
    return FaultRule(kind=kind, at=Asked.HOOK, **more)


async def test_the_end_of_a_call_is_announced_signed_both_ways_and_thin() -> None:
    async with site() as stage:
        call_id = await stage.begin(user_metadata={"any": "thing"})
        await stage.listener.hears()
        [(headers, body)] = stage.listener.taken
        told = json.loads(body)

        assert told["type"] == "interaction.completed"
        assert told["data"] == {"id": call_id}
        assert told["user_metadata"] == {"any": "thing"}
        now = SystemClock().now()
        for key in stage.state.webhooks.signing_keys:
            assert is_signed(headers, body, verifiers([key]), now)
            assert not is_signed(headers, body + b" ", verifiers([key]), now)


async def test_a_call_that_fails_is_announced_as_failed() -> None:
    async with site(FaultRule(kind=FaultKind.CALL_FAILS)) as stage:
        await stage.begin()
        await stage.listener.hears()

        assert json.loads(stage.listener.taken[0][1])["type"] == "interaction.failed"


async def test_nothing_is_announced_before_the_end() -> None:
    async with site(FaultRule(kind=FaultKind.CALL_NEVER_ENDS)) as stage:
        call_id = await stage.begin()
        path = f"/v1/interactions/{call_id}/cancel"
        assert stage.listener.taken == []
        await stage.client.post(path, headers={"x-goog-api-key": "key"})
        await stage.listener.hears()


async def test_a_hook_that_is_not_taken_comes_again_with_its_id() -> None:
    async with site(refusals=2) as stage:
        await stage.begin()
        await stage.listener.hears()
        delivered = [*stage.listener.refused, *stage.listener.taken]

        assert len({headers["webhook-id"] for headers, _ in delivered}) == 1
        assert len({body for _, body in delivered}) == 1
        assert len(delivered) == 3


async def test_hooks_are_doubled_and_late_on_demand() -> None:
    rules = [hook(FaultKind.HOOK_DOUBLED), hook(FaultKind.HOOK_LATE, seconds=0.01)]
    async with site(*rules) as stage:
        await stage.begin()
        await stage.listener.hears(2)
        await stage.begin()
        await stage.listener.hears()

        ids = [headers["webhook-id"] for headers, _ in stage.listener.taken]
        assert (ids[0] == ids[1], ids[1] == ids[2]) == (True, False)


async def test_a_lost_hook_does_not_come() -> None:
    async with site(hook(FaultKind.HOOK_LOST)) as stage:
        await stage.begin()
        second = await stage.begin()
        await stage.listener.hears()

        [(_, body)] = stage.listener.taken
        assert json.loads(body)["data"]["id"] == second


async def test_an_early_hook_comes_before_the_id_does() -> None:
    async with site(hook(FaultKind.HOOK_EARLY)) as stage:
        call_id = await stage.begin()

        [(_, body)] = stage.listener.taken
        assert json.loads(body)["data"]["id"] == call_id


@pytest.mark.parametrize(
    "config",
    [
        None,
        7,
        {},
        {"uris": []},
        {"uris": ["https://hooks.example/notify"]},
        {"uris": ["http://[", 5]},
    ],
)
def test_nobody_beyond_this_machine_is_told(config: Any) -> None:
    assert announcement(config, "v1_abc", lambda: None) is None
