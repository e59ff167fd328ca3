"""What goes over the wire to Gemini, byte for byte, captured at a real socket."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from pydantic import SecretStr

from executor.adapters.gemini import GeminiModel
from executor.adapters.provider_client import make_client
from executor.contract.profile import MediaResolution, parse_profile
from executor.contract.tiers import ServiceTier
from executor.ports import Correction, Image, ModelAnswer, ModelRequest
from executor.settings import Backend, GeminiSettings
from infra.local.gemini import create_app
from infra.local.gemini.calls import Call, Calls
from infra.local.scenario.single import tiny_png
from infra.local.serving.asgi import serve
from shared.adapters.clock import SystemClock
from tests.support.images import picture

KEY = "AIza-test-key"
MODEL = "gemini-3.5-flash"
TIER_HEADER = "x-vertex-ai-llm-shared-request-type"
PNG = tiny_png()
# They end in bytes whose base64 differs between the two alphabets.
JPEG = picture("JPEG") + b"\xfb\xef\xbe\xfb\xff" * 3
WEBP = picture("WEBP") + b"\xfb\xff\xfe\xff" * 3
#: A schema with what the client library could be tempted to rewrite or to refuse.
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "required": ["summary", "details"],
    "properties": {
        "summary": {"$ref": "#/$defs/summary_text"},
        "details": {"type": ["object", "null"], "minProperties": 1},
    },
    "$defs": {
        "summary_text": {
            "type": "object",
            "properties": {"markdown": {"type": "string", "pattern": "^#", "const": "# ü"}},
        }
    },
}
PATHS = {
    Backend.AI_STUDIO: f"/v1/models/{MODEL}:generateContent",
    Backend.VERTEX: (
        "/v1beta1/projects/some-project/locations/europe-west4"
        f"/publishers/google/models/{MODEL}:generateContent"
    ),
}
BODY = (
    '{"contents": [{"parts": ['
    '{"text": "Look at <this>.\\n\\u00fc \\ud83d\\ude00"}, '
    '{"inlineData": {"data": "%(png)s", "mime_type": "image/png"}}, '
    '{"inlineData": {"data": "%(jpeg)s", "mime_type": "image/jpeg"}}, '
    '{"inlineData": {"data": "%(webp)s", "mime_type": "image/webp"}}'
    '], "role": "user"}], '
    '"systemInstruction": {"parts": [{"text": "Be brief."}], "role": "user"}, '
    '"generationConfig": {%(parameters)s'
    '"responseMimeType": "application/json", '
    '"responseJsonSchema": {'
    '"$schema": "https://json-schema.org/draft/2020-12/schema", '
    '"type": "object", '
    '"additionalProperties": false, '
    '"required": ["summary", "details"], '
    '"properties": {'
    '"summary": {"$ref": "#/$defs/summary_text"}, '
    '"details": {"type": ["object", "null"], "minProperties": 1}}, '
    '"$defs": {"summary_text": {"type": "object", "properties": '
    '{"markdown": {"type": "string", "pattern": "^#", "const": "# \\u00fc"}}}}}'
    "%(thinking)s}}"
)


def model_request(**profile: Any) -> ModelRequest:
    required = {"modelName": MODEL, "responseMimeType": "application/json"}
    return ModelRequest(
        profile=parse_profile({**required, **profile, "jsonSchema": SCHEMA}),
        system_instruction="Be brief.",
        user_text="Look at <this>.\nü \N{GRINNING FACE}",
        images=[
            Image(data=PNG, mime_type="image/png"),
            Image(data=JPEG, mime_type="image/jpeg"),
            Image(data=WEBP, mime_type="image/webp"),
        ],
        json_schema=SCHEMA,
    )


def body(parameters: str = "", thinking: str = "") -> str:
    images = {"png": PNG, "jpeg": JPEG, "webp": WEBP}
    sent = {name: base64.urlsafe_b64encode(data).decode() for name, data in images.items()}
    assert all(set("-_") & set(sent[name]) for name in ("jpeg", "webp"))
    return BODY % {**sent, "parameters": parameters, "thinking": thinking}


@asynccontextmanager
async def served(backend: Backend) -> AsyncIterator[tuple[GeminiModel, Calls]]:
    app = create_app(latency_seconds=0)
    app.state.calls.keep = True
    async with serve(app, name="Gemini stand-in") as url:
        settings = GeminiSettings(
            backend=backend,
            api_key=SecretStr(KEY) if backend is Backend.AI_STUDIO else None,
            location="europe-west4",
            base_url=url,
            timeout_seconds=30,
        )
        model = GeminiModel(make_client(settings, "some-project"), SystemClock())
        try:
            yield model, app.state.calls
        finally:
            await model.aclose()


async def sent(backend: Backend, request: ModelRequest, seconds: float = 30.0) -> Call:
    async with served(backend) as (model, calls):
        await model.generate(request, timeout_seconds=seconds)
    [call] = calls.kept
    assert isinstance(call, Call)
    return call


@pytest.mark.parametrize("backend", Backend)
async def test_three_images_and_a_schema_go_out_as_they_are(backend: Backend) -> None:
    call = await sent(backend, model_request())

    assert (call.method, call.path) == ("POST", PATHS[backend])
    assert call.body.decode() == body()


@pytest.mark.parametrize("backend", Backend)
async def test_every_field_of_the_profile_reaches_the_provider(backend: Backend) -> None:
    profile = {
        "temperature": 0.2,
        "topP": 0.9,
        "topK": 40,
        "maxOutputTokens": 2048,
        "stopSequences": ["END"],
        "candidateCount": 1,
        "thinkingConfig": {"includeThoughts": False, "thinkingLevel": "LOW"},
    }

    call = await sent(backend, model_request(**profile))

    assert call.body.decode() == body(
        '"temperature": 0.2, "topP": 0.9, "topK": 40.0, "candidateCount": 1, '
        '"maxOutputTokens": 2048, "stopSequences": ["END"], ',
        ', "thinkingConfig": {"include_thoughts": false, "thinking_level": "LOW"}',
    )


@pytest.mark.parametrize("level", ["MINIMAL", "LOW", "MEDIUM", "HIGH"])
async def test_every_thinking_level_is_sent_by_its_name(level: str) -> None:
    request = model_request(thinkingConfig={"thinkingLevel": level})

    call = await sent(Backend.AI_STUDIO, request)

    thinking = f', "thinkingConfig": {{"thinking_level": "{level}"}}'
    assert call.body.decode() == body(thinking=thinking)


@pytest.mark.parametrize("backend", Backend)
@pytest.mark.parametrize("resolution", MediaResolution)
async def test_the_resolution_of_images_is_sent_for_the_whole_request(
    backend: Backend, resolution: MediaResolution
) -> None:
    request = replace(model_request(), media_resolution=resolution)

    call = await sent(backend, request)

    config = json.loads(call.body)["generationConfig"]
    assert config["mediaResolution"] == f"MEDIA_RESOLUTION_{resolution.name}"


async def test_the_developer_api_is_asked_for_a_tier_in_the_body() -> None:
    request = replace(model_request(), service_tier=ServiceTier.PRIORITY)

    call = await sent(Backend.AI_STUDIO, request)

    assert json.loads(call.body)["serviceTier"] == "priority"
    assert TIER_HEADER not in call.headers


async def test_vertex_is_asked_for_a_tier_by_a_header() -> None:
    request = replace(model_request(), service_tier=ServiceTier.PRIORITY)

    call = await sent(Backend.VERTEX, request)

    assert call.headers[TIER_HEADER] == "priority"
    assert "serviceTier" not in json.loads(call.body)


@pytest.mark.parametrize("backend", Backend)
async def test_the_usual_tier_needs_no_word(backend: Backend) -> None:
    call = await sent(backend, model_request())

    assert call.body.decode() == body()
    assert TIER_HEADER not in call.headers


async def test_the_developer_api_gets_the_key_in_a_header_and_nowhere_else() -> None:
    call = await sent(Backend.AI_STUDIO, model_request())

    assert call.headers["x-goog-api-key"] == KEY
    assert "authorization" not in call.headers
    assert KEY not in call.path
    assert KEY.encode() not in call.body


async def test_vertex_gets_a_bearer_token_and_never_the_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)

    call = await sent(Backend.VERTEX, model_request())

    assert call.headers["authorization"] == "Bearer local"
    assert KEY not in str(call.headers)


@pytest.mark.parametrize(("seconds", "header"), [(2.0, "10"), (10.0, "10"), (480.9, "480")])
@pytest.mark.parametrize("backend", Backend)
async def test_the_server_is_told_the_deadline_but_never_less_than_it_takes(
    backend: Backend, seconds: float, header: str
) -> None:
    call = await sent(backend, model_request(), seconds)

    assert call.headers["x-server-timeout"] == header


@pytest.mark.parametrize("name", ["GOOGLE_GENAI_API_VERSION", "GOOGLE_GENAI_USE_VERTEXAI"])
async def test_the_library_s_own_variables_change_nothing(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "true")

    call = await sent(Backend.AI_STUDIO, model_request())

    assert call.path == PATHS[Backend.AI_STUDIO]


@pytest.mark.parametrize("backend", Backend)
async def test_the_answer_comes_back_whole(backend: Backend) -> None:
    async with served(backend) as (model, calls):
        answer: ModelAnswer = await model.generate(model_request(), timeout_seconds=30)

    assert answer.finish_reason == "STOP"
    assert answer.model_version == f"{MODEL}-001"
    assert answer.text is not None
    assert answer.text.startswith('{"summary": {"markdown":')
    assert answer.usage is not None
    assert answer.usage["promptTokenCount"] > 3 * 258
    assert calls.received == calls.answered == {MODEL: 1}


@pytest.mark.parametrize(
    ("former_text", "roles"), [('{"bad": 1}', ["user", "model", "user"]), (None, ["user"])]
)
async def test_a_correction_shows_the_former_answer_if_there_is_one(
    former_text: str | None, roles: list[str]
) -> None:
    correction = Correction(former_text=former_text, instruction="Write it again.")

    call = await sent(Backend.VERTEX, replace(model_request(), correction=correction))

    contents = json.loads(call.body)["contents"]
    assert [content["role"] for content in contents] == roles
    assert contents[-1]["parts"][-1] == {"text": "Write it again."}
    assert len(contents[0]["parts"]) == (4 if former_text else 5)


async def test_labels_leave_on_both_backends() -> None:
    labels = {"run": "r", "step": "s", "claim": "c", "call": "1"}
    for backend in Backend:
        async with served(backend) as (model, calls):
            request = replace(model_request(), labels=labels)
            await model.generate(request, timeout_seconds=30)

        assert json.loads(calls.kept[0].body)["labels"] == labels
