"""Calls in the background, over real sockets, to the stand-in."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from pydantic import SecretStr

from executor.adapters.interactions import GeminiInteractions
from executor.adapters.provider_client import make_client
from executor.contract.profile import MediaResolution, parse_profile
from executor.contract.tiers import ServiceTier
from executor.ports import (
    CallFailed,
    CallForgotten,
    CallRunning,
    CallState,
    Correction,
    Image,
    ModelAnswer,
    ModelRequest,
)
from executor.settings import Backend, GeminiSettings
from infra.local.gemini import create_app
from infra.local.gemini.calls import Calls
from infra.local.gemini.faults import Asked, FaultKind, FaultRule, Faults
from infra.local.gemini.interactions import Interactions
from infra.local.scenario import tiny_png
from infra.local.serving.asgi import serve
from shared.adapters.clock import SystemClock
from shared.domain.errors import (
    GeminiAccessDenied,
    GeminiRequestFailed,
    LlmProfileInvalid,
    LlmSafetyBlock,
    RateLimited,
    StepError,
)

MODEL = "gemini-3.5-flash"
SECONDS = 60.0
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["summary"],
    "properties": {
        "summary": {"type": "object", "properties": {"markdown": {"type": "string"}}}
    },
}
PATHS = {
    Backend.AI_STUDIO: "/v1/interactions",
    Backend.VERTEX: "/v1beta1/projects/some-project/locations/europe-west4/interactions",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """The stand-in, and the adapter under test as its client."""

    model: GeminiInteractions
    calls: Calls
    faults: Faults
    interactions: Interactions

    async def answer(self, request: ModelRequest | None = None) -> ModelAnswer:
        state = await self.ended(await self.begun(request))
        assert isinstance(state, ModelAnswer)
        return state

    async def begun(self, request: ModelRequest | None = None) -> str:
        return await self.model.begin(request or model_request(), timeout_seconds=SECONDS)

    async def ended(self, call_id: str) -> CallState:
        async with asyncio.timeout(SECONDS):
            while True:
                state = await self.model.fetch(call_id, timeout_seconds=SECONDS)
                if not isinstance(state, CallRunning):
                    return state
                await asyncio.sleep(0.01)


def model_request(*, correction: Correction | None = None, **profile: Any) -> ModelRequest:
    return ModelRequest(
        profile=parse_profile({"modelName": MODEL, **profile, "jsonSchema": SCHEMA}),
        system_instruction="Be brief.",
        user_text="Look at <this>. ü",
        images=[Image(data=tiny_png(), mime_type="image/png")],
        json_schema=SCHEMA,
        correction=correction,
    )


@asynccontextmanager
async def provider(
    *rules: FaultRule,
    backend: Backend = Backend.AI_STUDIO,
    latency_seconds: float = 0.0,
    location: str = "europe-west4",
) -> AsyncIterator[Provider]:
    app = create_app(latency_seconds=latency_seconds, faults=rules)
    app.state.calls.keep = True
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
                model=GeminiInteractions(client, SystemClock()),
                calls=app.state.calls,
                faults=app.state.faults,
                interactions=app.state.interactions,
            )
        finally:
            await client.aio.aclose()


@pytest.mark.parametrize("backend", Backend)
async def test_a_call_begins_at_once_and_is_fetched_when_its_answer_is_there(
    backend: Backend,
) -> None:
    async with provider(backend=backend, latency_seconds=0.3) as gemini:
        call_id = await gemini.begun()
        early = await gemini.model.fetch(call_id, timeout_seconds=SECONDS)
        answer = await gemini.ended(call_id)

    assert isinstance(early, CallRunning)
    assert isinstance(answer, ModelAnswer)
    assert "markdown" in json.loads(answer.text or "")["summary"]
    assert (answer.finish_reason, answer.response_id) == ("STOP", call_id)
    assert answer.model_version == MODEL
    assert gemini.calls.answered == {MODEL: 1}


@pytest.mark.parametrize("backend", Backend)
async def test_the_request_asks_for_a_stored_call_in_the_background(backend: Backend) -> None:
    profile: dict[str, Any] = {
        "temperature": 0.2,
        "topP": 0.9,
        "maxOutputTokens": 2048,
        "stopSequences": ["END"],
        "candidateCount": 1,
        "responseMimeType": "application/json",
        "thinkingConfig": {"includeThoughts": False, "thinkingLevel": "LOW"},
    }

    async with provider(backend=backend) as gemini:
        await gemini.begun(model_request(**profile))

    [call] = gemini.calls.kept
    assert (call.method, call.path) == ("POST", PATHS[backend])
    body = json.loads(call.body)
    [step] = body.pop("input")
    assert step["type"] == "user_input"
    assert [part["type"] for part in step["content"]] == ["text", "image"]
    assert body == {
        "model": MODEL,
        "background": True,
        "store": True,
        "system_instruction": "Be brief.",
        "response_format": {
            "type": "text",
            "mime_type": "application/json",
            "schema": SCHEMA,
        },
        "generation_config": {
            "temperature": 0.2,
            "top_p": 0.9,
            "max_output_tokens": 2048,
            "stop_sequences": ["END"],
            "thinking_level": "low",
            "thinking_summaries": "none",
        },
    }


async def test_what_the_profile_does_not_say_is_not_sent() -> None:
    async with provider() as gemini:
        await gemini.begun()

    assert "generation_config" not in json.loads(gemini.calls.kept[0].body)


@pytest.mark.parametrize(
    ("former", "steps"),
    [
        ("not JSON", ["user_input", "model_output", "user_input"]),
        (None, ["user_input"]),
    ],
)
async def test_a_correction_is_shown_as_turns(former: str | None, steps: list[str]) -> None:
    correction = Correction(former_text=former, instruction="Once more.")

    async with provider() as gemini:
        await gemini.answer(model_request(correction=correction))

    sent = json.loads(gemini.calls.kept[0].body)["input"]
    assert [step["type"] for step in sent] == steps
    assert sent[-1]["content"][-1] == {"type": "text", "text": "Once more."}


@pytest.mark.parametrize("backend", Backend)
@pytest.mark.parametrize("resolution", [None, *MediaResolution])
async def test_the_resolution_of_images_is_sent_with_each(
    backend: Backend, resolution: MediaResolution | None
) -> None:
    async with provider(backend=backend) as gemini:
        await gemini.begun(replace(model_request(), media_resolution=resolution))

    [call] = gemini.calls.kept
    [step] = json.loads(call.body)["input"]
    _, image = step["content"]
    assert image.get("resolution") == resolution


@pytest.mark.parametrize(
    ("backend", "tier"),
    [
        (backend, tier)
        for backend in Backend
        for tier in ServiceTier
        if (backend, tier) != (Backend.AI_STUDIO, ServiceTier.DEFERRED)
    ],
)
async def test_a_tier_is_asked_for_in_the_body_and_at_vertex_by_its_header_too(
    backend: Backend, tier: ServiceTier
) -> None:
    async with provider(backend=backend, location="global") as gemini:
        await gemini.begun(replace(model_request(), service_tier=tier))

    [call] = gemini.calls.kept
    body = json.loads(call.body)
    assert body.get("service_tier") == (None if tier is ServiceTier.STANDARD else tier)
    by_header = backend is Backend.VERTEX and tier in {ServiceTier.FLEX, ServiceTier.PRIORITY}
    header = call.headers.get("x-vertex-ai-llm-shared-request-type")
    assert header == (tier if by_header else None)


async def test_a_call_that_was_stopped_tells_how_it_ended() -> None:
    async with provider(latency_seconds=60) as gemini:
        call_id = await gemini.begun()
        await gemini.model.stop(call_id, timeout_seconds=SECONDS)
        state = await gemini.model.fetch(call_id, timeout_seconds=SECONDS)
        # Doing it once more changes nothing.
        await gemini.model.stop(call_id, timeout_seconds=SECONDS)

    assert isinstance(state, CallFailed)
    assert state.error.maybe_billed


async def test_stopping_comes_too_late_for_an_answer_that_is_there() -> None:
    async with provider() as gemini:
        call_id = await gemini.begun()
        await gemini.ended(call_id)
        await gemini.model.stop(call_id, timeout_seconds=SECONDS)
        state = await gemini.model.fetch(call_id, timeout_seconds=SECONDS)
        await gemini.model.stop("v1_unknown", timeout_seconds=SECONDS)

    assert isinstance(state, ModelAnswer)


async def test_usage_has_the_names_of_the_other_api() -> None:
    async with provider() as gemini:
        answer = await gemini.answer(model_request(thinkingConfig={"thinkingLevel": "HIGH"}))

    assert answer.usage is not None
    assert set(answer.usage) == {
        "promptTokenCount",
        "candidatesTokenCount",
        "thoughtsTokenCount",
        "totalTokenCount",
    }


async def test_an_answer_cut_by_the_token_limit_says_so() -> None:
    async with provider(FaultRule(kind=FaultKind.CUT_JSON)) as gemini:
        answer = await gemini.answer()

    assert answer.finish_reason == "MAX_TOKENS"


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        (FaultRule(kind=FaultKind.CALL_FAILS), GeminiRequestFailed),
        (FaultRule(kind=FaultKind.PROMPT_BLOCKED, reason="PROHIBITED_CONTENT"), LlmSafetyBlock),
        (FaultRule(kind=FaultKind.ANSWER_BLOCKED, reason="SAFETY"), LlmSafetyBlock),
        (FaultRule(kind=FaultKind.FINISH_REASON, reason="LANGUAGE"), LlmSafetyBlock),
        (FaultRule(kind=FaultKind.FINISH_REASON, reason="NEXT_YEAR"), GeminiRequestFailed),
    ],
    ids=lambda value: value.kind if isinstance(value, FaultRule) else value.__name__,
)
async def test_a_failed_call_is_an_error_of_ours(
    rule: FaultRule, error: type[StepError]
) -> None:
    async with provider(rule) as gemini:
        state = await gemini.ended(await gemini.begun())

    assert isinstance(state, CallFailed)
    assert type(state.error) is error
    assert not getattr(state.error, "maybe_billed", False)


@pytest.mark.parametrize(
    ("rule", "error", "billed"),
    [
        (FaultRule(kind=FaultKind.STATUS, status=400), LlmProfileInvalid, False),
        (FaultRule(kind=FaultKind.STATUS, status=404), LlmProfileInvalid, False),
        (FaultRule(kind=FaultKind.STATUS, status=403), GeminiAccessDenied, False),
        (FaultRule(kind=FaultKind.KEY_REVOKED), GeminiAccessDenied, False),
        (FaultRule(kind=FaultKind.STATUS, status=503), GeminiRequestFailed, False),
        (FaultRule(kind=FaultKind.STATUS_AS_HTML, status=502), GeminiRequestFailed, True),
        (FaultRule(kind=FaultKind.RATE_LIMIT, seconds=7), RateLimited, False),
        (FaultRule(kind=FaultKind.DAILY_QUOTA), RateLimited, False),
        (FaultRule(kind=FaultKind.RESET_AFTER_ANSWER), GeminiRequestFailed, True),
        (FaultRule(kind=FaultKind.CUT_ANSWER), GeminiRequestFailed, True),
        (FaultRule(kind=FaultKind.TRUNCATED_ENVELOPE), GeminiRequestFailed, True),
    ],
    ids=lambda value: f"{value.kind}-{value.status}" if isinstance(value, FaultRule) else None,
)
async def test_a_call_that_cannot_begin_says_whether_it_may_be_billed(
    rule: FaultRule, error: type[StepError], *, billed: bool
) -> None:
    async with provider(rule) as gemini:
        with pytest.raises(error) as raised:
            await gemini.begun()

    assert getattr(raised.value, "maybe_billed", False) is billed
    # The stand-in's errors quote the prompt and the key.
    assert "Look at" not in f"{raised.value!r} {raised.value.details}"
    assert raised.value.__cause__ is None


async def test_the_provider_s_delay_is_passed_on() -> None:
    async with provider(FaultRule(kind=FaultKind.RATE_LIMIT, seconds=7)) as gemini:
        with pytest.raises(RateLimited) as raised:
            await gemini.begun()

    assert raised.value.retry_after is not None
    assert raised.value.retry_after.total_seconds() == 7


async def test_nobody_answering_is_no_connection() -> None:
    settings = GeminiSettings(
        backend=Backend.AI_STUDIO,
        api_key=SecretStr("AIza-test-key"),
        location="",
        base_url="http://127.0.0.1:1",
        timeout_seconds=30,
    )
    model = GeminiInteractions(make_client(settings, "p"), SystemClock())

    with pytest.raises(GeminiRequestFailed, match="cannot be reached") as raised:
        await model.begin(model_request(), timeout_seconds=SECONDS)

    assert not raised.value.maybe_billed


async def test_silence_is_cut_off_by_the_wall_clock() -> None:
    async with provider(FaultRule(kind=FaultKind.HANG)) as gemini:
        with pytest.raises(GeminiRequestFailed, match="no answer in time"):
            await gemini.model.begin(model_request(), timeout_seconds=0.5)


async def test_a_failed_look_says_nothing_about_the_call() -> None:
    async with provider() as gemini:
        call_id = await gemini.begun()
        gemini.interactions.faults.add([FaultRule(kind=FaultKind.STATUS, at=Asked.GET)])
        with pytest.raises(GeminiRequestFailed):
            await gemini.model.fetch(call_id, timeout_seconds=SECONDS)
        state = await gemini.ended(call_id)

    assert isinstance(state, ModelAnswer)


@pytest.mark.parametrize("backend", Backend)
async def test_a_forgotten_call_is_gone_and_may_be_forgotten_again(backend: Backend) -> None:
    async with provider(backend=backend) as gemini:
        call_id = await gemini.begun()
        for _ in range(2):
            await gemini.model.forget(call_id, ended=True, timeout_seconds=SECONDS)
        state = await gemini.model.fetch(call_id, timeout_seconds=SECONDS)

    assert isinstance(state, CallForgotten)
    assert gemini.interactions.kept == {}


async def test_a_call_under_way_is_stopped_before_it_is_forgotten() -> None:
    async with provider(FaultRule(kind=FaultKind.CALL_NEVER_ENDS)) as gemini:
        call_id = await gemini.begun()
        kept = gemini.interactions.kept[call_id]
        await gemini.model.forget(call_id, ended=False, timeout_seconds=SECONDS)

    assert kept.cancelled
    assert gemini.interactions.kept == {}


async def test_labels_leave_the_client() -> None:
    labels = {"run": "r", "step": "s", "claim": "c", "call": "1"}
    async with provider() as gemini:
        await gemini.begun(replace(model_request(), labels=labels))

    assert json.loads(gemini.calls.kept[0].body)["labels"] == labels


@pytest.mark.parametrize("call_id", ["a/b?c#d", "v1:9~.=+", "../models", "é %2F", "a..b"])
async def test_an_id_is_escaped_and_found_whatever_it_is(call_id: str) -> None:
    async with provider() as gemini:
        begun = await gemini.begun()
        kept = gemini.interactions.kept
        kept[call_id] = kept.pop(begun)

        state = await gemini.ended(call_id)
        await gemini.model.forget(call_id, ended=True, timeout_seconds=SECONDS)

    assert isinstance(state, ModelAnswer)
    assert kept == {}


async def test_a_call_that_cannot_be_stopped_is_deleted_all_the_same() -> None:
    refusal = FaultRule(kind=FaultKind.STATUS, status=500, at=Asked.CANCEL)
    async with provider(FaultRule(kind=FaultKind.CALL_NEVER_ENDS), refusal) as gemini:
        call_id = await gemini.begun()
        with pytest.raises(GeminiRequestFailed):
            await gemini.model.forget(call_id, ended=False, timeout_seconds=SECONDS)

        assert gemini.interactions.kept == {}


async def test_a_call_is_described_by_the_labels_that_it_was_begun_with() -> None:
    async with provider() as gemini:
        request = replace(model_request(), labels={"run": "r1", "call": "1"})
        described = await gemini.model.describe(
            await gemini.begun(request), timeout_seconds=SECONDS
        )
        unknown = await gemini.model.describe("v1_unknown", timeout_seconds=SECONDS)

    assert described is not None
    assert described.labels == {"run": "r1", "call": "1"}
    assert described.created is not None
    assert unknown is None
