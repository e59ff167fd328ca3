"""The price table, the bill of a call, and the most that it can come to."""

import json
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.billing.prices import (
    DEFAULT_IMAGE_TOKENS,
    PricesInvalid,
    most_input_tokens,
    parse_prices,
    parse_usd,
    price_on,
)
from executor.billing.usage import Tokens
from executor.contract.profile import MediaResolution, parse_profile
from executor.contract.tiers import ServiceTier
from executor.ports import Correction, Image, ModelRequest
from executor.settings import read_settings
from shared.settings import SettingsInvalid

TABLE = {
    "gemini-a": [
        {"from": "2026-01-01", "input": "0.30", "output": "2.50", "cached": "0.03"},
        {"from": "2026-06-01", "input": 0.25, "output": 2, "thought": "1", "imageTokens": 300},
    ]
}
ENVIRON = {
    "GCP_PROJECT": "p",
    "ARTIFACTS_BUCKET": "reports",
    "DEAD_LETTER_TOPIC": "dead",
    "GEMINI_API_KEY": "canary",
}
STRUCTURED = {"schemaId": "llm_schema_1m_report_v1_0", "kind": "LLM_REPORT_OUTPUT"}


def priced(tiers: str) -> str:
    return f'{{"m": [{{"from": "2026-01-01", "input": 1, "output": 1, "tiers": {tiers}}}]}}'


def request(text: str = "text", *, images: int = 0, **more: Any) -> ModelRequest:
    return ModelRequest(
        profile=parse_profile({"modelName": "gemini-a", "structuredOutput": STRUCTURED}),
        system_instruction="",
        user_text=text,
        images=[Image(data=b"", mime_type="image/png")] * images,
        json_schema={},
        **more,
    )


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (date(2025, 12, 31), None),
        (date(2026, 1, 1), Decimal("0.30")),
        (date(2026, 5, 31), Decimal("0.30")),
        (date(2026, 6, 1), Decimal("0.25")),
        (date(2030, 1, 1), Decimal("0.25")),
    ],
)
def test_a_price_is_valid_from_its_day_until_the_next(
    day: date, expected: Decimal | None
) -> None:
    price = price_on(parse_prices(json.dumps(TABLE)), "gemini-a", day)

    assert (price and price.input) == expected


def test_a_model_that_is_not_in_the_table_has_no_price() -> None:
    assert price_on(parse_prices("{}"), "gemini-a", date(2026, 1, 1)) is None


def test_cached_and_thought_tokens_have_their_own_prices_or_the_usual_ones() -> None:
    table = parse_prices(json.dumps(TABLE))
    old = price_on(table, "gemini-a", date(2026, 1, 1))
    new = price_on(table, "gemini-a", date(2026, 6, 1))

    assert old is not None
    assert new is not None
    tokens = Tokens(input=1_000_000, cached=400_000, output=10_000, thought=20_000)
    # 600,000 x 0.30 + 400,000 x 0.03 + 30,000 x 2.50
    assert old.of(tokens) == 267_000
    # 1,000,000 x 0.25 + 10,000 x 2 + 20,000 x 1
    assert new.of(tokens) == 290_000


def test_a_tier_has_its_own_prices_or_none() -> None:
    table = parse_prices(priced('{"flex": {"input": "0.5", "output": "0.25"}}'))
    price = price_on(table, "m", date(2026, 1, 1))

    assert price is not None
    assert price.at_tier(ServiceTier.STANDARD) is price
    flex = price.at_tier(ServiceTier.FLEX)
    assert flex is not None
    assert flex.of(Tokens(input=4, cached=2, output=4, thought=4)) == 4
    assert price.at_tier(ServiceTier.PRIORITY) is None


@pytest.mark.parametrize(
    ("model", "resolution", "expected"),
    [
        ("gemini-3.5-flash", "low", 280),
        ("gemini-3.5-flash", "medium", 560),
        ("gemini-3.5-flash", "high", 1_120),
        # A resolution that is not pinned, or not documented, is counted at an upper bound.
        ("gemini-3.5-flash", None, DEFAULT_IMAGE_TOKENS),
        ("gemini-2.5-flash", "low", DEFAULT_IMAGE_TOKENS),
    ],
)
def test_images_are_reserved_for_by_what_their_resolution_counts_as(
    model: str, resolution: str | None, expected: int
) -> None:
    [price] = parse_prices(priced("{}"))["m"]
    asked = replace(
        request(images=3),
        profile=parse_profile({"modelName": model, "structuredOutput": STRUCTURED}),
        media_resolution=MediaResolution(resolution) if resolution else None,
    )
    without = replace(asked, images=[])

    assert price.worst_case(asked, 1) - price.worst_case(without, 1) == 3 * expected


def test_a_bill_is_rounded_up_to_the_millionth() -> None:
    price = price_on(parse_prices(json.dumps(TABLE)), "gemini-a", date(2026, 1, 1))

    assert price is not None
    assert price.of(Tokens(input=1)) == 1
    assert price.of(Tokens()) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "not JSON"),
        ("[]", "must map model names"),
        ('{"m": []}', "m: must be a list of prices"),
        ('{"m": {}}', "m: must be a list of prices"),
        (
            '{"m": [{"from": "2026-01-01", "input": 1}]}',
            r"m\[0\]: input and output are required",
        ),
        ('{"m": [{"input": 1, "output": 1}]}', r"m\[0\].from: must be YYYY-MM-DD"),
        ('{"m": [{"from": "soon", "input": 1, "output": 1}]}', r"m\[0\].from"),
        ('{"m": [{"from": "2026-01-01", "input": -1, "output": 1}]}', r"m\[0\].input"),
        ('{"m": [{"from": "2026-01-01", "input": "NaN", "output": 1}]}', r"m\[0\].input"),
        ('{"m": [{"from": "2026-01-01", "input": true, "output": 1}]}', r"m\[0\].input"),
        ('{"m": [{"from": "2026-01-01", "input": 1e400, "output": 1}]}', r"m\[0\].input"),
        (f'{{"m": [{{"input": 1e{"9" * 30}, "output": 1}}]}}', "not JSON"),
        (
            '{"m": [{"from": "2026-01-01", "input": 1, "output": 1, "x": 1}]}',
            r"m\[0\]: has only",
        ),
        (priced('{"spot": {}}'), r"m\[0\].tiers: has only"),
        (priced('{"standard": {"input": 1, "output": 1}}'), r"m\[0\].tiers: has only"),
        (priced('["flex"]'), r"m\[0\].tiers: has only"),
        (priced('{"flex": 0.5}'), r"m\[0\].tiers.flex: has only"),
        (priced('{"flex": {"input": 1, "output": 1, "from": 1}}'), r"tiers.flex: has only"),
        (priced('{"flex": {"input": 1}}'), r"tiers.flex: input and output are required"),
        (priced('{"flex": {"input": -1, "output": 1}}'), r"m\[0\].tiers.flex.input"),
        (
            json.dumps({"m": [{"from": "2026-01-01", "input": 1, "output": 1}] * 2}),
            "m: two prices are valid from the same day",
        ),
    ],
)
def test_a_table_with_a_mistake_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(PricesInvalid, match=message):
        parse_prices(text)


@pytest.mark.parametrize(
    ("text", "amount"), [("2.50", 2_500_000), ("0.000001", 1), ("1e2", 10**8)]
)
def test_an_amount_is_kept_to_the_millionth(text: str, amount: int) -> None:
    assert parse_usd(text) == amount


@pytest.mark.parametrize("text", ["", "two", "-1", "0", "NaN", "Infinity", "1e9", "9e999999"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no amount of USD"):
        parse_usd(text)


@given(text=st.text(), images=st.integers(0, 3))
def test_the_estimate_of_the_input_is_never_below_a_token_for_each_byte(
    text: str, images: int
) -> None:
    size_bytes = len(text.encode("utf-8", "surrogatepass"))

    estimate = most_input_tokens(request(text, images=images), DEFAULT_IMAGE_TOKENS)

    assert estimate >= size_bytes + images * DEFAULT_IMAGE_TOKENS


def test_a_correction_is_paid_for_too() -> None:
    plain = most_input_tokens(request(), 0)
    corrected = request(correction=Correction(former_text="x" * 500, instruction="y" * 100))

    assert most_input_tokens(corrected, 0) == plain + 600


def test_the_worst_case_is_all_of_the_input_and_all_of_the_output() -> None:
    price = price_on(parse_prices(json.dumps(TABLE)), "gemini-a", date(2026, 6, 1))

    assert price is not None
    tokens = most_input_tokens(request(images=1), 300)
    assert price.worst_case(request(images=1), 8192) == -(-(tokens * 25 + 8192 * 200) // 100)


def test_a_ceiling_needs_the_prices_of_all_models_that_are_allowed() -> None:
    ceiling = {**ENVIRON, "MAX_DAY_COST_USD": "5"}
    priced = {**ceiling, "MODEL_PRICES": json.dumps(TABLE)}

    with pytest.raises(SettingsInvalid, match="MODEL_PRICES must have every model"):
        read_settings(ceiling)
    with pytest.raises(SettingsInvalid, match="MODEL_PRICES must have every model"):
        read_settings({**priced, "GEMINI_ALLOWED_MODELS": "gemini-a,gemini-b"})

    settings = read_settings({**priced, "GEMINI_ALLOWED_MODELS": "gemini-a"})
    assert settings.ceilings.per_day == 5_000_000
    assert settings.ceilings.per_run is None


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("MODEL_PRICES", "{", "MODEL_PRICES: not JSON"),
        ("MAX_RUN_COST_USD", "much", "MAX_RUN_COST_USD must be an amount of USD"),
        ("MAX_DAY_COST_USD", "-1", "MAX_DAY_COST_USD must be an amount of USD"),
    ],
)
def test_a_bad_variable_stops_the_start(variable: str, value: str, message: str) -> None:
    with pytest.raises(SettingsInvalid, match=message):
        read_settings({**ENVIRON, variable: value})
