"""The stand-in's service tiers: their room, calls without room, and what answers tell of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from executor.adapters.gemini import GeminiModel
from executor.adapters.interactions import GeminiInteractions
from executor.adapters.provider_client import make_client
from executor.contract.profile import parse_profile
from executor.contract.tiers import ServiceTier
from executor.ports import CallFailed, CallRunning, ModelAnswer, ModelRequest
from executor.settings import Backend, GeminiSettings
from infra.local.gemini import create_app
from infra.local.gemini.tiers import Tiers
from infra.local.serving.asgi import serve
from shared.adapters.clock import SystemClock
from shared.domain.errors import GeminiRequestFailed, LlmProfileInvalid, RateLimited

SECONDS = 10.0
DEFERRED, FLEX, STANDARD, PRIORITY = ServiceTier
MODEL = "gemini-3.5-flash"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """The stand-in, and both of its interfaces."""

    url: str
    tiers: Tiers
    at_once: GeminiModel
    background: GeminiInteractions

    async def offer(self, *rules: dict[str, Any]) -> int:
        """Set the tiers from outside, as another process would."""
        async with httpx2.AsyncClient() as client:
            answer = await client.put(f"{self.url}/control/tiers", json=list(rules))
            return answer.status_code

    async def ask(self, tier: ServiceTier) -> ModelAnswer:
        """Ask for one answer."""
        return await self.at_once.generate(asked(tier), timeout_seconds=SECONDS)

    async def begin(self, tier: ServiceTier) -> str:
        """Begin one call in the background."""
        return await self.background.begin(asked(tier), timeout_seconds=SECONDS)

    async def state(self, call_id: str) -> object:
        """The state of the call."""
        return await self.background.fetch(call_id, timeout_seconds=SECONDS)


def asked(tier: ServiceTier) -> ModelRequest:
    return ModelRequest(
        profile=parse_profile({"modelName": MODEL, "jsonSchema": {"type": "object"}}),
        system_instruction="",
        user_text="report",
        images=(),
        json_schema={"type": "object"},
        service_tier=tier,
    )


@asynccontextmanager
async def provider(
    backend: Backend = Backend.AI_STUDIO,
    *,
    location: str = "global",
    latency_seconds: float = 0.0,
) -> AsyncIterator[Provider]:
    app = create_app(latency_seconds=latency_seconds)
    async with serve(app, name="Gemini stand-in") as url:
        settings = GeminiSettings(
            backend=backend,
            api_key=SecretStr("AIza-test-key") if backend is Backend.AI_STUDIO else None,
            location=location,
            base_url=url,
            timeout_seconds=30,
        )
        client = make_client(settings, "some-project")
        try:
            yield Provider(
                url=url,
                tiers=app.state.tiers,
                at_once=GeminiModel(client, SystemClock()),
                background=GeminiInteractions(client, SystemClock()),
            )
        finally:
            await client.aio.aclose()


@pytest.mark.parametrize(
    ("backend", "tier", "word"),
    [
        (Backend.AI_STUDIO, STANDARD, None),
        (Backend.AI_STUDIO, FLEX, "flex"),
        (Backend.AI_STUDIO, PRIORITY, "priority"),
        (Backend.VERTEX, STANDARD, None),
        (Backend.VERTEX, FLEX, "ON_DEMAND_FLEX"),
        (Backend.VERTEX, PRIORITY, "ON_DEMAND_PRIORITY"),
    ],
)
async def test_an_answer_says_at_which_tier_it_was_served(
    backend: Backend, tier: ServiceTier, word: str | None
) -> None:
    async with provider(backend) as gemini:
        answer = await gemini.ask(tier)

    assert answer.service_tier == word


@pytest.mark.parametrize("backend", Backend)
@pytest.mark.parametrize("tier", [FLEX, STANDARD, PRIORITY])
async def test_a_call_in_the_background_says_it_too(
    backend: Backend, tier: ServiceTier
) -> None:
    async with provider(backend) as gemini:
        state = await gemini.state(await gemini.begin(tier))

    assert isinstance(state, ModelAnswer)
    assert state.service_tier == (None if tier is STANDARD else tier)


async def test_a_full_tier_sheds_and_another_has_room() -> None:
    async with provider() as gemini:
        assert await gemini.offer({"tier": "flex", "capacity": 0}) == 200
        with pytest.raises(GeminiRequestFailed) as shed:
            await gemini.ask(FLEX)
        with pytest.raises(GeminiRequestFailed) as not_begun:
            await gemini.begin(FLEX)
        answer = await gemini.ask(STANDARD)
        await gemini.offer({"tier": "flex", "capacity": 0, "when_full": "limit"})
        with pytest.raises(RateLimited):
            await gemini.ask(FLEX)

    assert shed.value.refused
    assert not_begun.value.refused
    assert answer.finish_reason == "STOP"


async def test_priority_over_its_limit_is_served_and_billed_as_standard() -> None:
    async with provider() as gemini:
        await gemini.offer({"tier": "priority", "capacity": 0, "when_full": "downgrade"})
        answer = await gemini.ask(PRIORITY)
        state = await gemini.state(await gemini.begin(PRIORITY))

    assert answer.service_tier == "standard"
    assert isinstance(state, ModelAnswer)
    assert state.service_tier == "standard"


async def test_a_call_is_evicted_when_its_tier_has_no_room_any_more() -> None:
    async with provider(latency_seconds=60) as gemini:
        await gemini.offer({"tier": "flex", "capacity": 2})
        first, second = [await gemini.begin(FLEX) for _ in range(2)]
        with pytest.raises(GeminiRequestFailed):
            await gemini.begin(FLEX)
        await gemini.offer({"tier": "flex", "capacity": 1})
        kept, evicted = await gemini.state(first), await gemini.state(second)

    assert isinstance(kept, CallRunning)
    assert isinstance(evicted, CallFailed)
    assert evicted.error.refused


async def test_a_minute_s_quota_takes_so_many_calls_in_any_sixty_seconds() -> None:
    now = 100.0
    async with provider() as gemini:
        gemini.tiers.now = lambda: now
        await gemini.offer(
            {"tier": "standard", "capacity": 99, "when_full": "limit", "per_minute": 2}
        )
        for _ in range(2):
            await gemini.ask(STANDARD)
            now += 20
        with pytest.raises(RateLimited):
            await gemini.ask(STANDARD)
        assert await gemini.begin(FLEX)
        now = 160.5
        await gemini.ask(STANDARD)
        with pytest.raises(RateLimited):
            await gemini.begin(STANDARD)


async def test_a_deferred_call_waits_for_room() -> None:
    now = 100.0
    async with provider(Backend.VERTEX) as gemini:
        gemini.tiers.now = lambda: now
        await gemini.offer(
            {"tier": "deferred", "capacity": 1, "when_full": "queue", "seconds": 3_600}
        )
        for _ in range(2):
            assert await gemini.begin(DEFERRED)

    assert [work.ends_at for work in gemini.tiers._at_work] == [3_700.0, 7_300.0]


@pytest.mark.parametrize(
    ("backend", "location", "tier"),
    [
        (Backend.VERTEX, "europe-west4", FLEX),
        (Backend.AI_STUDIO, "global", DEFERRED),
    ],
)
async def test_a_tier_that_is_not_served_there_is_a_bad_request(
    backend: Backend, location: str, tier: ServiceTier
) -> None:
    async with provider(backend, location=location) as gemini:
        with pytest.raises(LlmProfileInvalid):
            await gemini.begin(tier)


@pytest.mark.parametrize(
    "rules",
    [
        {},
        [1],
        [{"tier": "flex"}],
        [{"tier": "spot", "capacity": 1}],
        [{"tier": "flex", "x": 1}],
    ],
)
async def test_what_is_no_list_of_tiers_is_refused(rules: object) -> None:
    async with provider() as gemini, httpx2.AsyncClient() as client:
        answer = await client.put(f"{gemini.url}/control/tiers", json=rules)

    assert answer.status_code == 400
