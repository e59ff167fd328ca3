"""The Gemini stand-in: what it refuses, what it counts, and its faults on demand."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from infra.local.gemini import create_app
from infra.local.gemini.faults import FaultKind, FaultRule, Faults, fault_rules
from infra.local.serving.asgi import serve
from tests.support.images import picture

MODEL = "gemini-3.5-flash"
PATH = f"/v1beta/models/{MODEL}:generateContent"
VERTEX_PATH = f"/v1/projects/p/locations/l/publishers/google/models/{MODEL}:generateContent"
KEY = {"x-goog-api-key": "k"}
BEARER = {"authorization": "Bearer t"}


def body(text: str = "hello", **config: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    return {
        "contents": [{"role": "user", "parts": [{"text": text}]}],
        "generationConfig": {"responseJsonSchema": schema, **config},
    }


@pytest_asyncio.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        serve(create_app(latency_seconds=0), name="Gemini stand-in") as url,
        httpx2.AsyncClient(base_url=url, trust_env=False) as client,
    ):
        yield client


async def ask(client: httpx2.AsyncClient, text: str = "hello") -> httpx2.Response:
    return await client.post(PATH, headers=KEY, json=body(text))


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (PATH, KEY),
        (PATH.replace("v1beta", "v1"), KEY),
        (VERTEX_PATH, BEARER),
        (VERTEX_PATH.replace("/v1/", "/v1beta1/"), BEARER),
    ],
)
async def test_it_answers_from_the_request_s_schema_on_every_path(
    client: httpx2.AsyncClient, path: str, headers: dict[str, str]
) -> None:
    answer = (await client.post(path, headers=headers, json=body())).json()

    [candidate] = answer["candidates"]
    assert candidate["finishReason"] == "STOP"
    assert isinstance(json.loads(candidate["content"]["parts"][0]["text"])["n"], int)
    assert answer["usageMetadata"]["totalTokenCount"] > 0


async def test_equal_requests_get_equal_answers(client: httpx2.AsyncClient) -> None:
    assert (await ask(client)).json() == (await ask(client)).json()
    assert (await ask(client)).json() != (await ask(client, "other")).json()


async def test_both_spellings_and_both_alphabets_are_read(client: httpx2.AsyncClient) -> None:
    data = base64.urlsafe_b64encode(picture("JPEG") + b"\xff\xfb\xff" * 3).decode()
    image = {"inline_data": {"mime_type": "image/jpeg", "data": data}}
    asked = body()
    asked["contents"][0]["parts"] += [image]
    asked["generation_config"] = asked.pop("generationConfig")

    answer = await client.post(PATH, headers=KEY, json=asked)

    assert answer.json()["usageMetadata"]["promptTokenCount"] > 258


@pytest.mark.parametrize(
    ("headers", "asked", "status"),
    [
        ({}, body(), 403),
        ({**KEY, "x-server-timeout": "9"}, body(), 400),
        (KEY, {"contents": []}, 400),
        (KEY, [], 400),
    ],
)
async def test_what_the_provider_would_refuse_is_refused(
    client: httpx2.AsyncClient, headers: dict[str, str], asked: Any, status: int
) -> None:
    answer = await client.post(PATH, headers=headers, json=asked)

    assert answer.status_code == status
    assert answer.json()["error"]["code"] == status


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (VERTEX_PATH, KEY, 401),
        (PATH.replace("gemini", "llama"), KEY, 404),
        (PATH.replace("generate", "stream"), KEY, 404),
    ],
)
async def test_wrong_credentials_models_and_methods_are_refused(
    client: httpx2.AsyncClient, path: str, headers: dict[str, str], status: int
) -> None:
    assert (await client.post(path, headers=headers, json=body())).status_code == status


async def test_an_image_that_is_none_is_refused(client: httpx2.AsyncClient) -> None:
    asked = body()
    asked["contents"][0]["parts"] += [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]

    assert (await client.post(PATH, headers=KEY, json=asked)).status_code == 400


async def test_the_token_limit_cuts_the_answer(client: httpx2.AsyncClient) -> None:
    asked = body(maxOutputTokens=1)

    answer = (await client.post(PATH, headers=KEY, json=asked)).json()

    [candidate] = answer["candidates"]
    assert candidate["finishReason"] == "MAX_TOKENS"
    assert len(candidate["content"]["parts"][0]["text"]) == 4


async def test_faults_are_set_counted_and_dropped_from_another_process(
    client: httpx2.AsyncClient,
) -> None:
    rules = [
        {"kind": "status", "status": 500, "contains": "first", "times": 2},
        {"kind": "rate_limit", "contains": MODEL, "seconds": 3},
    ]
    assert (await client.post("/control/faults", json=rules)).status_code == 200

    statuses = [(await ask(client, text)).status_code for text in ("first", "x", "first", "y")]
    await client.post("/control/faults", json=rules)
    await client.delete("/control/faults")
    statuses.append((await ask(client, "first")).status_code)

    assert statuses == [500, 429, 500, 200, 200]
    counted = (await client.get("/control/requests")).json()
    assert counted == {"received": {MODEL: 5}, "answered": {MODEL: 2}}


@pytest.mark.parametrize(
    "rules", [{}, [{}], [{"kind": "nonsense"}], [{"kind": "hang", "other": 1}], [1], "text"]
)
async def test_rules_that_are_none_are_refused_with_a_reason(
    client: httpx2.AsyncClient, rules: Any
) -> None:
    answer = await client.post("/control/faults", json=rules)

    assert answer.status_code == 400
    assert answer.json()["error"]


async def test_every_fault_can_be_asked_for_by_its_name(client: httpx2.AsyncClient) -> None:
    for kind in FaultKind:
        rules = [{"kind": kind, "seconds": 0.01}]
        assert (await client.post("/control/faults", json=rules)).status_code == 200
        # Some of these get no answer at all; none of them breaks the server.
        try:
            await client.post(PATH, headers=KEY, json=body(), timeout=0.5)
        except httpx2.TransportError:
            continue

    assert (await ask(client)).status_code == 200


async def test_a_reset_after_the_answer_is_billed_and_one_before_is_not(
    client: httpx2.AsyncClient,
) -> None:
    rules = [{"kind": "reset_before_answer"}, {"kind": "reset_after_answer"}]
    await client.post("/control/faults", json=rules)

    for answered in ({}, {MODEL: 1}):
        with pytest.raises(httpx2.TransportError):
            await ask(client)
        assert (await client.get("/control/requests")).json()["answered"] == answered


def test_a_rule_is_spent_after_its_times_and_leaves_others_alone() -> None:
    faults = Faults([FaultRule(kind=FaultKind.HANG, contains="a", times=2)])

    taken = [faults.take(text) for text in ("b", "a", "xa", "a")]

    assert [rule.kind if rule else None for rule in taken] == [None, "hang", "hang", None]


def test_rules_come_with_their_defaults() -> None:
    assert fault_rules([{"kind": "hang"}]) == [FaultRule(kind=FaultKind.HANG)]
