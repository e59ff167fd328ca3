"""A report as its reader wants it: details, price levels on candles, Markdown, a comparison."""

import itertools
import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.scenario.schemas import schema_documents, schema_id
from infra.ops.reports.candles import HEIGHT, PriceLevel, levels_of, parse_candles, picture_of
from infra.ops.reports.comparison import compared
from infra.ops.reports.details import Bullets, Facts, Grid, blocks_of, label
from infra.ops.reports.text import report_markdown

DETAILS: Mapping[str, Any] = json.loads(
    """{
    "confidence": 0.62,
    "scenarios": [
      {"probability": 0.55, "name": "BULLISH", "target": 1.10450, "invalidation": 1.0980},
      {"probability": 0.3, "name": "BEARISH", "target": null, "invalidation": 1.1102}
    ],
    "trend": {"direction": "UPTREND", "evidence": "higher <lows> | and highs"},
    "supportLevels": [{"price": 1.0980, "strength": "STRONG"}],
    "resistanceLevels": [{"price": 1.1102, "strength": "WEAK"}],
    "risks": ["an event", "thin volume"],
    "extra": {"unknown": true}
    }""",
    parse_float=Decimal,
)
SCHEMA = schema_documents()[schema_id("1d")]["jsonSchema"]


def by_title(details: object, schema: Mapping[str, Any] | None = SCHEMA) -> dict[str, Any]:
    return {block.title: block for block in blocks_of(details, schema)}


def test_lists_of_objects_are_tables_in_the_order_of_the_schema_and_numbers_as_stored() -> None:
    blocks = by_title(DETAILS)
    grid = blocks["Scenarios"]

    assert isinstance(grid, Grid)
    assert grid.columns == ["Name", "Probability", "Target", "Invalidation"]
    assert grid.numeric == [False, True, True, True]
    assert [cell.text for cell in grid.rows[0]] == ["BULLISH", "55 %", "1.10450", "1.0980"]
    assert [cell.text for cell in grid.rows[1]] == ["BEARISH", "30 %", "", "1.1102"]


def test_the_order_of_a_schema_that_came_from_firestore_is_that_of_its_lists() -> None:
    properties = {name: {"type": "number"} for name in ("a", "b", "c")}
    stored = {"properties": properties, "required": ["c", "a", "b"]}
    schema = {"properties": {"details": stored}}

    [facts] = blocks_of({"a": 1, "b": 2, "c": 3}, schema)

    assert isinstance(facts, Facts)
    assert [name for name, _ in facts.rows] == ["C", "A", "B"]


def test_single_fields_lists_and_what_no_schema_knows_are_all_shown() -> None:
    blocks = by_title(DETAILS)

    assert list(blocks) == [
        "",
        *("Trend", "Support levels", "Resistance levels", "Scenarios", "Risks", "Extra"),
    ]
    assert [(name, cell.text) for name, cell in blocks[""].rows] == [("Confidence", "62 %")]
    assert isinstance(blocks["Trend"], Facts)
    assert isinstance(blocks["Risks"], Bullets)
    assert blocks["Extra"].rows[0][1].text == "yes"


@pytest.mark.parametrize(
    ("name", "words"),
    [("supportLevels", "Support levels"), ("RSI_14", "RSI 14"), ("", ""), ("_", "_")],
)
def test_a_fields_name_is_read_as_words(name: str, words: str) -> None:
    assert label(name) == words


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(_JSON, _JSON)
def test_whatever_a_model_wrote_can_be_shown_drawn_and_compared(
    details: Any, other: Any
) -> None:
    schema = {"properties": {"details": other}}

    assert report_markdown("x", details, schema).startswith("x\n")
    picture_of(parse_candles(CANDLES), levels_of(details))
    assert not any(pair.changed for pair in compared(details, details))
    compared(details, other)


def test_markdown_holds_all_of_it_and_no_text_opens_a_cell_or_an_element() -> None:
    text = report_markdown("# Up\n", DETAILS, SCHEMA)

    assert (
        "| Name | Probability | Target | Invalidation |\n| --- | ---: | ---: | ---: |" in text
    )
    assert "| BULLISH | 55 % | 1.10450 | 1.0980 |" in text
    assert r"higher \<lows\> \| and highs" in text
    assert "- thin volume" in text


CANDLES = json.dumps(
    {
        "candles": [
            {"time": f"2026-01-0{n}T00:00:00Z", "open": 1.1, "high": 1.106, "low": 1.095}
            | {"close": 1.1 + n / 1_000}
            for n in range(1, 6)
        ]
    }
).encode()


def test_levels_and_scenarios_stand_on_the_candles_that_the_model_saw() -> None:
    picture = picture_of(parse_candles(CANDLES), levels_of(DETAILS))

    assert picture is not None
    assert len(picture.bodies) == 5
    # The highest price comes first, and labels never overlap.
    assert [line.kind for line in picture.lines] == [
        *("invalidation", "resistance", "target", "invalidation", "support")
    ]
    assert [line.y for line in picture.lines] == sorted(line.y for line in picture.lines)
    labels = [line.label_y for line in picture.lines]
    assert all(after - before >= 13 for before, after in itertools.pairwise(labels))
    assert {line.text for line in picture.lines} >= {"1.10450 target bullish", "1.0980 support"}
    assert all(0 <= line.y <= HEIGHT for line in picture.lines)


def test_a_level_far_from_the_candles_is_named_and_does_not_flatten_them() -> None:
    far = PriceLevel(kind="target", price=2.0, text="2.0 target")
    picture = picture_of(parse_candles(CANDLES), [far])

    assert picture is not None
    assert picture.lines == []
    assert picture.off_the_chart == ["2.0 target"]


@pytest.mark.parametrize(
    "data",
    [
        b'[[1, "1", 2, 0.5, 1.5, 7], [2, 1, 2, 0.5, 1.5, 7]]',
        b'{"bars": [{"t": 1, "o": 1, "h": 2, "l": 0.5, "c": 1.5}, {"x": 1}, 7]}',
        b'{"ohlcv": [{"open": "1", "high": "2", "low": "0.5", "close": "1.5"}]}',
    ],
)
def test_candles_are_known_in_other_usual_forms(data: bytes) -> None:
    assert parse_candles(data)[0].close == 1.5


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[" * 99_999, b'{"candles": 7}', b'[[1,"nan",1,1,1]]', b'["\xff"]']
)
def test_what_is_no_list_of_candles_is_drawn_as_nothing(data: bytes) -> None:
    assert picture_of(parse_candles(data), levels_of(DETAILS)) is None


def test_two_reports_are_compared_field_by_field_and_numbers_with_their_difference() -> None:
    later = json.loads(json.dumps(DETAILS, default=float), parse_float=Decimal)
    later["scenarios"].reverse()
    later["scenarios"][1]["probability"] = Decimal("0.60")
    later["risks"] = ["an event"]

    changed = {pair.path: pair for pair in compared(DETAILS, later) if pair.changed}

    # A scenario is recognized by its name, whatever its position.
    share = changed["Scenarios BULLISH · Probability"]
    assert share.before is not None
    assert share.after is not None
    assert (share.before.text, share.after.text, share.difference) == ("55 %", "60 %", "+0.05")
    assert changed["Risks 2"].after is None
    assert len(changed) == 2
