"""Evaluations ask at half the price wherever a tier offers it, and forecast that cost."""

import json
from datetime import date
from typing import Any

import pytest

from executor.billing.prices import parse_prices
from executor.contract.profile import parse_profile
from executor.contract.tiers import ServiceTier
from executor.ports import ModelRequest
from executor.settings import read_settings
from infra.local.processes.functions import function_environ
from infra.ops.evaluation.asking.bench import with_cheap_tier
from infra.ops.evaluation.asking.forecast import cost_of

MODEL = "gemini-3.5-flash"
STANDARD = {"from": "2026-01-01", "input": "0.50", "output": "3.00"}
WITH_FLEX = {**STANDARD, "tiers": {"flex": {"input": "0.25", "output": "1.50"}}}
DAY = date(2026, 11, 1)
BOTH = (ServiceTier.FLEX, ServiceTier.STANDARD)


def environ(*prices: dict[str, Any], **more: str) -> dict[str, str]:
    table = {"MODEL_PRICES": json.dumps({MODEL: prices})} if prices else {}
    base = {**function_environ("local", gemini_url="http://127.0.0.1:1"), **table}
    return {**base, "MAX_RUN_COST_USD": "5", "GEMINI_ALLOWED_MODELS": MODEL, **more}


def tiers(variables: dict[str, str]) -> tuple[ServiceTier, ...]:
    return tuple(read_settings(with_cheap_tier(variables)).gemini.service_tiers)


def test_flex_is_asked_first_where_its_price_is_known() -> None:
    assert tiers(environ(WITH_FLEX)) == BOTH


@pytest.mark.parametrize(
    "variables",
    [
        environ(STANDARD),
        environ(STANDARD, GEMINI_ALLOWED_MODELS=""),
        environ(WITH_FLEX, GEMINI_SERVICE_TIERS="standard"),
        environ(WITH_FLEX, GEMINI_API="generate_content"),
        environ(WITH_FLEX, GEMINI_BACKEND="vertex", GEMINI_LOCATION="europe-west4"),
    ],
    ids=[
        "no price of the tier",
        "any model",
        "tiers set",
        "API set",
        "not served there",
    ],
)
def test_otherwise_all_stays_as_it_was_set(variables: dict[str, str]) -> None:
    assert with_cheap_tier(variables) == variables
    assert tiers(variables) == (ServiceTier.STANDARD,)


def request(**profile: Any) -> ModelRequest:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    fields = {"modelName": MODEL, "jsonSchema": schema, "maxOutputTokens": 1_000, **profile}
    return ModelRequest(
        profile=parse_profile(fields),
        system_instruction="",
        user_text="hello",
        images=[],
        json_schema=schema,
    )


def test_the_cheapest_tier_is_likely_and_the_dearest_is_the_most() -> None:
    prices = parse_prices(json.dumps({MODEL: [WITH_FLEX]}))
    [flex, standard] = [cost_of(request(), None, prices, DAY, [tier]) for tier in BOTH]

    both = cost_of(request(), None, prices, DAY, BOTH)

    assert (both.likely, both.most) == (flex.likely, standard.most)
    assert flex.most is not None
    assert standard.most is not None
    assert flex.most * 2 == pytest.approx(standard.most, abs=2)


def test_a_profile_s_own_tier_is_what_it_costs() -> None:
    prices = parse_prices(json.dumps({MODEL: [WITH_FLEX]}))

    chosen = cost_of(request(serviceTier="flex"), None, prices, DAY, BOTH)

    assert chosen == cost_of(request(), None, prices, DAY, [ServiceTier.FLEX])
    assert cost_of(request(serviceTier="priority"), None, prices, DAY, BOTH).most is None
