"""The stand-in's planted effects: each hits its share of answers, and leaves the rest alone."""

import json
from typing import Any

import httpx2
import pytest

from infra.local.gemini import create_app
from infra.local.gemini.effects import Effect, Effects, effects_in
from infra.local.gemini.generation import output_text, stopped_answer
from infra.local.gemini.requests import GenerateRequest
from infra.local.scenario.schemas import schema_documents, schema_id
from infra.local.serving.asgi import serve

CANDLES = {
    "candles": [
        {"open": 100, "high": 104, "low": 98, "close": 101},
        {"open": 101, "high": 110, "low": 100, "close": 108},
    ]
}
LOW, HIGH = 98, 110
MODEL = "gemini-3.5-flash"


def asked(number: int, phrase: str = "") -> GenerateRequest:
    text = f"case {number} {phrase}\n<content>\n{json.dumps(CANDLES)}\n</content>"
    schema = schema_documents()[schema_id("1d")]["jsonSchema"]
    body = {
        "contents": [{"role": "user", "parts": [{"text": text}]}],
        "generationConfig": {"responseJsonSchema": schema},
    }
    return GenerateRequest(model=MODEL, credential="k", body=body)


def answered(effect: Effect | None, number: int, phrase: str = "") -> dict[str, Any]:
    request = asked(number, phrase)
    effects = Effects(planted=[effect] if effect else [])
    return effects.played(request, stopped_answer(request, output_text(request)))


def report(answer: dict[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(
        answer["candidates"][0]["content"]["parts"][0]["text"]
    )
    return document


def prices(document: dict[str, Any]) -> list[float]:
    details = document["details"]
    return [level["price"] for level in details["supportLevels"] + details["resistanceLevels"]]


def test_without_an_effect_levels_lie_in_the_range_of_the_candles_and_agree_with_the_text() -> (
    None
):
    for number in range(50):
        document = report(answered(None, number))

        assert all(LOW <= price <= HIGH for price in prices(document))
        assert document["details"]["trend"]["direction"] == "UPTREND"
        assert "trend: up" in document["summary"]["markdown"]
        scenarios = document["details"]["scenarios"]
        assert sum(scenario["probability"] for scenario in scenarios) <= 1


def test_a_share_of_the_answers_breaks_the_schema() -> None:
    effect = Effect(contains="briefly", invalid_share=0.25)

    broken = [
        report(answered(effect, number, "briefly"))["summary"]["markdown"] == 7
        for number in range(400)
    ]

    assert 80 <= sum(broken) <= 120


def test_a_share_of_the_answers_has_a_level_outside_the_range() -> None:
    effect = Effect(contains=MODEL, outside_share=0.25)

    outside = [
        any(price > HIGH for price in prices(report(answered(effect, number))))
        for number in range(400)
    ]

    assert 80 <= sum(outside) <= 120


def test_output_tokens_are_counted_by_the_factor_and_the_total_follows() -> None:
    before = answered(None, 1, "at length")["usageMetadata"]
    after = answered(Effect(contains="at length", tokens_factor=1.1), 1, "at length")
    usage = after["usageMetadata"]

    assert usage["candidatesTokenCount"] == round(before["candidatesTokenCount"] * 1.1)
    assert usage["totalTokenCount"] == (
        usage["promptTokenCount"] + usage["candidatesTokenCount"]
    )


def test_another_call_is_not_touched_and_an_equal_one_is_answered_equally() -> None:
    effect = Effect(contains="briefly", invalid_share=1, outside_share=1, tokens_factor=2)

    assert answered(effect, 1) == answered(None, 1)
    assert answered(effect, 1, "briefly") == answered(effect, 1, "briefly")


@pytest.mark.parametrize("document", [{}, [1], [{}], [{"contains": "x", "speed": 2}]])
def test_what_is_no_list_of_effects_is_refused(document: Any) -> None:
    with pytest.raises(ValueError, match="a list of effects is needed"):
        effects_in(document)


async def test_effects_are_set_from_another_process_and_replace_the_former_ones() -> None:
    app = create_app(latency_seconds=0)
    async with (
        serve(app, name="Gemini stand-in") as url,
        httpx2.AsyncClient(base_url=url, trust_env=False) as client,
    ):
        wanted = [{"contains": "briefly", "invalid_share": 1.0}]
        accepted = await client.put("/control/effects", json=wanted)
        refused = await client.put("/control/effects", json=[{"speed": 1}])
        request = asked(1, "briefly")
        path = f"/v1beta/models/{MODEL}:generateContent"
        answer = await client.post(path, headers={"x-goog-api-key": "k"}, json=request.body)

    assert (accepted.status_code, refused.status_code) == (200, 400)
    assert report(answer.json())["summary"]["markdown"] == 7
