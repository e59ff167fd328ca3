"""The order of a schema's properties survives whatever a database makes of its maps."""

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.validation.property_order import (
    in_order,
    order_warnings,
    property_order,
    with_ordering,
)

REASONED = ["evidence", "counter_evidence", "risk", "verdict", "confidence"]


def schema(names: list[str], **keywords: Any) -> dict[str, Any]:
    properties = {name: {"type": "string"} for name in names}
    return {"type": "object", "properties": properties, **keywords}


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        ({"propertyOrdering": REASONED}, REASONED),
        ({"required": REASONED}, REASONED),
        ({}, sorted(REASONED)),
        (
            {"propertyOrdering": ["risk"], "required": ["verdict", "risk"]},
            ["risk", "verdict", "confidence", "counter_evidence", "evidence"],
        ),
        ({"propertyOrdering": ["unknown", *REASONED, "risk"]}, REASONED),
        ({"propertyOrdering": "risk", "required": REASONED}, REASONED),
    ],
)
def test_the_author_s_lists_decide_and_the_rest_is_by_name(
    keywords: dict[str, Any], expected: list[str]
) -> None:
    assert property_order(schema(sorted(REASONED), **keywords)) == expected


def scrambled(value: Any, chance: random.Random) -> Any:
    """The value as a database gives it back: maps have lost their order."""
    if isinstance(value, dict):
        names = list(value)
        chance.shuffle(names)
        return {name: scrambled(value[name], chance) for name in names}
    return [scrambled(item, chance) for item in value] if isinstance(value, list) else value


NAMES = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=5, unique=True)


@st.composite
def schemas(draw: st.DrawFn, depth: int = 2) -> dict[str, Any]:
    names = draw(NAMES)
    inner = schemas(depth=depth - 1) if depth else st.just({"type": "string"})
    properties = {name: draw(inner | st.just({"type": "number"})) for name in names}
    required = draw(st.lists(st.sampled_from(names), unique=True))
    found: dict[str, Any] = {"type": "object", "properties": properties}
    return found | ({"required": required} if required else {})


def authored(found: Any) -> Any:
    """The names of all properties, in the order in which they stand."""
    if not isinstance(found, dict) or "properties" not in found:
        return None
    return [(name, authored(inner)) for name, inner in found["properties"].items()]


@given(schemas(), st.integers())
def test_the_order_survives_from_the_file_to_the_request(
    written: dict[str, Any], seed: int
) -> None:
    published = with_ordering(written)
    stored = scrambled(published, random.Random(seed))

    sent = in_order(stored)

    assert authored(sent) == authored(written)
    assert order_warnings(published) == []
    assert json.dumps(sent) == json.dumps(in_order(published))


@given(schemas(), st.integers())
def test_without_any_list_the_bytes_are_the_same_all_the_same(
    written: dict[str, Any], seed: int
) -> None:
    stored = scrambled(written, random.Random(seed))

    assert json.dumps(in_order(stored)) == json.dumps(in_order(written))


def test_a_list_that_says_enough_is_not_doubled() -> None:
    whole = schema(REASONED, required=REASONED)

    assert with_ordering(whole) == whole
    assert with_ordering(schema(REASONED))["propertyOrdering"] == REASONED


def test_a_given_ordering_is_kept() -> None:
    stated = schema(REASONED, propertyOrdering=REASONED[::-1])

    assert with_ordering(stated) == stated
    assert list(in_order(stated)["properties"]) == REASONED[::-1]


@pytest.mark.parametrize(
    ("keywords", "warned"),
    [
        ({}, True),
        ({"required": ["verdict", "confidence"]}, True),
        ({"required": REASONED}, False),
        ({"propertyOrdering": REASONED}, False),
    ],
)
def test_an_order_that_is_not_known_is_told(keywords: dict[str, Any], *, warned: bool) -> None:
    warnings = order_warnings(schema(REASONED, **keywords))

    assert bool(warnings) is warned
    assert all("propertyOrdering" in warning for warning in warnings)


def test_one_property_needs_no_order() -> None:
    assert order_warnings(schema(["verdict"])) == []
