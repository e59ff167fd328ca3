"""What a call cost, as it was served."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.billing.bills import call_cost, is_revision, served_otherwise
from executor.billing.prices import parse_prices
from shared.domain.attempts import CallPurpose, ModelCall

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PRICES = parse_prices(
    json.dumps(
        {
            "gemini-3.5-flash": [
                {
                    "from": "2026-01-01",
                    "input": 1,
                    "output": 4,
                    "cached": 0.1,
                    "tiers": {
                        "flex": {"input": 0.5, "output": 2},
                        "deferred": {"input": 0.5, "output": 1},
                    },
                }
            ],
            "gemini-3.5-pro": [{"from": "2026-01-01", "input": 10, "output": 40}],
            "gemini-3.5-flash-lite": [{"from": "2026-01-01", "input": 0.5, "output": 2}],
        }
    )
)
CALL = ModelCall(
    number=1,
    purpose=CallPurpose.REPORT,
    started_at=NOW,
    ended_at=NOW,
    model_name="gemini-3.5-flash",
    usage={"promptTokenCount": 100, "candidatesTokenCount": 10, "totalTokenCount": 110},
)
AS_ASKED = 140


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        (None, AS_ASKED),
        ("gemini-3.5-flash", AS_ASKED),
        ("models/gemini-3.5-flash", AS_ASKED),
        ("gemini-3.5-flash-001", AS_ASKED),
        ("gemini-3.5-flash-preview-09-2026", AS_ASKED),
        ("gemini-3.5-pro", 1_400),
        ("gemini-3.5-pro-002", 1_400),
        ("gemini-3.5-flash-lite", 70),
        ("gemini-3.5-flash-lite-001", 70),
        ("gemini-4-ultra", None),
        ("gemini-3.5-flashier", None),
    ],
)
def test_a_call_costs_what_the_model_costs_that_served_it(
    version: str | None, expected: int | None
) -> None:
    assert call_cost(replace(CALL, model_version=version), PRICES) == expected


@pytest.mark.parametrize(
    ("asked", "served", "cost", "otherwise"),
    [
        (None, None, AS_ASKED, False),
        (None, "standard", AS_ASKED, False),
        (None, "ON_DEMAND", AS_ASKED, False),
        (None, "TRAFFIC_TYPE_UNSPECIFIED", AS_ASKED, False),
        (None, "flex", 70, True),
        ("flex", "flex", 70, False),
        ("flex", "ON_DEMAND_FLEX", 70, False),
        ("flex", "standard", AS_ASKED, True),
        ("deferred", "ON_DEMAND_OFFPEAK", 60, False),
        # These calls were downgraded, and are billed at the tier that served them.
        ("priority", "standard", AS_ASKED, True),
        ("priority", "ON_DEMAND", AS_ASKED, True),
        # Where the tier has no price, or was not named, the cost is unknown and not zero.
        ("priority", "priority", None, False),
        (None, "ON_DEMAND_PRIORITY", None, True),
        (None, "PROVISIONED_THROUGHPUT", None, True),
        ("flex", None, None, False),
        ("flex", "spot", None, True),
    ],
)
def test_a_call_costs_what_the_tier_costs_that_served_it(
    asked: str | None, served: str | None, cost: int | None, *, otherwise: bool
) -> None:
    call = replace(CALL, asked_tier=asked, service_tier=served)

    assert call_cost(call, PRICES) == cost
    assert served_otherwise(call) is otherwise


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"usage": None}, None),
        ({"usage": {"totalTokenCount": "many"}}, None),
        ({"usage": None, "code": "GEMINI_REQUEST_FAILED"}, 0),
        ({"usage": None, "code": "GEMINI_REQUEST_FAILED", "maybe_billed": True}, None),
        ({"code": "GEMINI_REQUEST_FAILED", "maybe_billed": True}, AS_ASKED),
        ({"ended_at": None}, None),
        ({"model_name": "gemini-unpriced"}, None),
        ({"started_at": datetime(2025, 1, 1, tzinfo=UTC)}, None),
    ],
)
def test_what_is_not_known_is_never_nothing(
    changes: dict[str, Any], expected: int | None
) -> None:
    assert call_cost(replace(CALL, **changes), PRICES) == expected


def test_a_model_that_was_not_asked_is_told() -> None:
    assert served_otherwise(replace(CALL, model_version="gemini-3.5-pro"))
    assert not served_otherwise(replace(CALL, model_version="gemini-3.5-flash-001"))
    assert not served_otherwise(replace(CALL, model_version=None))


@given(st.sampled_from(sorted(PRICES)), st.sampled_from(["", "-001", "-preview-01-2026"]))
def test_a_version_is_of_one_model_alone(model: str, revision: str) -> None:
    assert [name for name in sorted(PRICES) if is_revision(model + revision, name)] == [model]


KINDS = ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount")


@given(
    st.fixed_dictionaries(
        {"totalTokenCount": st.integers(1, 10_000)},
        optional=dict.fromkeys(KINDS, st.integers(0, 5_000)),
    )
)
def test_no_reading_of_the_usage_costs_more_than_is_booked(usage: dict[str, int]) -> None:
    """The rest of the total, which no count names, may be of the dearest kind."""
    cost = call_cost(replace(CALL, usage=usage), PRICES)

    known = sum(usage.get(name, 0) for name in KINDS)
    rest = max(usage["totalTokenCount"] - known, 0)
    dearest = usage.get("promptTokenCount", 0) * 1 + 4 * (
        usage.get("candidatesTokenCount", 0) + usage.get("thoughtsTokenCount", 0) + rest
    )
    assert cost == dearest
