"""Usage is read as a bill: a doubt counts as the dearest, and the unknown is never free."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.billing.usage import Tokens, usage_tokens


def test_usage_is_read_as_the_provider_sends_it() -> None:
    usage = {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 40,
        "candidatesTokenCount": 20,
        "thoughtsTokenCount": 7,
        "totalTokenCount": 127,
    }

    assert usage_tokens(usage) == Tokens(input=100, cached=40, output=20, thought=7)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"totalTokenCount": 9200}, Tokens(unseen=9200)),
        ({"promptTokenCount": 1000, "totalTokenCount": 9200}, Tokens(input=1000, unseen=8200)),
        (
            {"promptTokenCount": 1000, "candidatesTokenCount": 500, "totalTokenCount": 9200},
            Tokens(input=1000, output=500, unseen=7700),
        ),
        (
            {"promptTokenCount": "1000", "totalTokenCount": "9200"},
            Tokens(input=1000, unseen=8200),
        ),
        (
            {"promptTokenCount": 1000.0, "totalTokenCount": 9200.0},
            Tokens(input=1000, unseen=8200),
        ),
        ({"promptTokenCount": None, "totalTokenCount": 9200}, Tokens(unseen=9200)),
        ({"promptTokenCount": -5, "totalTokenCount": 9200}, Tokens(unseen=9200)),
        # Where the parts add up to more than the total, the parts count.
        (
            {"promptTokenCount": 9000, "candidatesTokenCount": 900, "totalTokenCount": 9200},
            Tokens(input=9000, output=900),
        ),
        # A cache that is larger than the prompt is no part of the prompt.
        (
            {"promptTokenCount": 10, "cachedContentTokenCount": 90, "totalTokenCount": 100},
            Tokens(input=100, cached=90),
        ),
        (
            {"promptTokenCount": 10, "toolUsePromptTokenCount": 5, "totalTokenCount": 15},
            Tokens(input=15),
        ),
    ],
)
def test_the_total_is_a_floor(usage: dict[str, Any], expected: Tokens) -> None:
    assert usage_tokens(usage) == expected


@pytest.mark.parametrize("total", [None, 0, -1, 1.5, True, "many", "", "-7", [9200], 2**31])
def test_without_a_total_that_can_be_read_it_is_unknown_what_the_call_took(total: Any) -> None:
    usage = {"promptTokenCount": 100, "candidatesTokenCount": 20, "totalTokenCount": total}

    assert usage_tokens(usage) is None


@pytest.mark.parametrize("usage", [None, {}, {"trafficType": "ON_DEMAND"}])
def test_usage_that_counts_nothing_is_unknown(usage: dict[str, Any] | None) -> None:
    assert usage_tokens(usage) is None


COUNTS = st.none() | st.integers(0, 10_000) | st.integers(0, 10_000).map(str)
NAMES = (
    "promptTokenCount",
    "cachedContentTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "toolUsePromptTokenCount",
    "totalTokenCount",
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, COUNTS)))
def test_no_less_is_counted_than_any_reading_of_the_usage_has(usage: dict[str, Any]) -> None:
    tokens = usage_tokens(usage)
    read = {name: int(value) for name, value in usage.items() if value is not None}
    if tokens is None:
        assert not read.get("totalTokenCount")
        return
    counted = tokens.input + tokens.output + tokens.thought + tokens.unseen

    assert counted >= read["totalTokenCount"]
    assert counted >= sum(
        read.get(name, 0) for name in NAMES if name not in {NAMES[1], NAMES[-1]}
    )
