"""The library of checks: what each passes and what it finds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from infra.ops.checks.declared import ChecksInvalid, problems_of, read_checks
from infra.ops.checks.library import (
    Check,
    agrees_with_text,
    between,
    names_all,
    names_timeframes,
    sums_to,
    sums_to_at_most,
    within_candles,
    words_between,
)
from infra.ops.checks.subject import Candle, Subject, candles_of, values_at

CANDLES = [
    Candle(time="2026-01-01T00:00:00Z", open=100, high=104, low=98, close=101),
    Candle(time="2026-01-02T00:00:00Z", open=101, high=110, low=100, close=108),
]
OUTPUT: Mapping[str, Any] = {
    "summary": {"markdown": "The weekly trend is up; on 4h charts it pauses."},
    "details": {
        "trend": {"direction": "UPTREND"},
        "levels": [{"price": 99}, {"price": 110.5}, {"price": None}],
        "scenarios": [{"probability": 0.5}, {"probability": 0.3}],
    },
}
DIRECTIONS = {"UPTREND": ["up", "rising"], "DOWNTREND": ["down", "falling"]}


def subject(output: Mapping[str, Any] = OUTPUT, timeframe: str = "4h") -> Subject:
    return Subject(
        output=output,
        symbol="EURUSD",
        timeframe=timeframe,
        candles=CANDLES,
        previous_timeframes=["1w"],
    )


@pytest.mark.parametrize(
    ("check", "problems"),
    [
        (
            within_candles("details.levels[].price"),
            ["details.levels[1].price: 110.5 lies outside 98 to 110"],
        ),
        (within_candles("details.levels[].price", slack=0.1), []),
        (within_candles("details.nothing[].price"), []),
        (
            sums_to("details.scenarios[].probability"),
            ["details.scenarios[].probability: they sum to 0.8, not to 1"],
        ),
        (sums_to("details.scenarios[].probability", total=0.8), []),
        (sums_to("details.none[].probability"), []),
        (sums_to_at_most("details.scenarios[].probability"), []),
        (
            sums_to_at_most("details.scenarios[].probability", total=0.5),
            ["details.scenarios[].probability: they sum to 0.8, more than 0.5"],
        ),
        (between("details.scenarios[].probability", least=0.3, most=0.5), []),
        (
            between("details.scenarios[].probability", least=0.4, most=1),
            ["details.scenarios[1].probability: 0.3 lies outside 0.4 to 1"],
        ),
        (agrees_with_text("details.trend.direction", words=DIRECTIONS), []),
        (names_all(words=["weekly", "UP"]), []),
        (names_all(words=["week", "gap"]), ["week", "gap"]),
        (names_timeframes(), []),
        (words_between(most=10), []),
        (words_between(most=9), ["summary.markdown: 10 words, not 0 to 9"]),
    ],
)
def test_a_check_finds_exactly_what_is_wrong(check: Check, problems: list[str]) -> None:
    found = check(subject())

    assert len(found) == len(problems)
    assert all(problem in sentence for problem, sentence in zip(problems, found, strict=True))


def test_a_direction_that_the_text_contradicts_is_found_and_silence_is_not() -> None:
    check = agrees_with_text("details.trend.direction", words=DIRECTIONS)
    contradicted = {**OUTPUT, "details": {"trend": {"direction": "DOWNTREND"}}}
    silent = {**contradicted, "summary": {"markdown": "No statement."}}

    assert check(subject(contradicted)) == [
        "details.trend.direction: DOWNTREND, and the text says UPTREND"
    ]
    assert check(subject(silent)) == []


def test_a_timeframe_that_the_text_does_not_name_is_found() -> None:
    assert names_timeframes()(subject(timeframe="1M")) == [
        "summary.markdown: does not name the timeframe 1M"
    ]


def test_a_path_reaches_into_lists_and_says_where_it_found_each_value() -> None:
    assert list(values_at(OUTPUT, "details.scenarios[].probability")) == [
        ("details.scenarios[0].probability", 0.5),
        ("details.scenarios[1].probability", 0.3),
    ]
    assert list(values_at(OUTPUT, "details.trend[].x")) == []


@pytest.mark.parametrize(
    "document", [None, {}, {"candles": 7}, {"candles": [{"open": 1}]}, {"candles": [7]}]
)
def test_candles_of_another_form_are_none(document: object) -> None:
    assert candles_of(document) == []


def test_checks_are_declared_in_json_by_name_and_arguments(tmp_path: Path) -> None:
    path = tmp_path / "checks.json"
    path.write_text(
        '{"levels": {"check": "within_candles", "path": "details.levels[].price"},'
        ' "short": {"check": "words_between", "most": 300}}'
    )

    found = problems_of(read_checks(path), subject())

    assert {name: len(problems) for name, problems in found.items()} == {
        "levels": 1,
        "short": 0,
    }


def test_checks_are_python_functions_and_a_defect_in_one_is_told(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(
        "def check_symbol(subject):\n"
        "    return [] if subject.symbol == 'EURUSD' else ['another symbol']\n"
        "def check_broken(subject):\n"
        "    return subject.output['nothing']\n"
    )

    found = problems_of(read_checks(path), subject())

    assert found["symbol"] == []
    assert found["broken"] == ["the check itself failed with KeyError"]


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("a.json", "[", "JSON"),
        ("a.json", "[]", "must map names to checks"),
        ("a.json", '{"x": {"check": "guess"}}', "check must be one of"),
        ("a.json", '{"x": {"check": "within_candles"}}', "missing a required argument"),
        ("a.json", '{"x": {"check": "names_all", "words": 7}}', "not iterable"),
        ("a.py", "x = 1", "has no function named check_<name>"),
        ("a.py", "def", "SyntaxError"),
    ],
)
def test_a_file_that_declares_no_checks_is_refused_by_name(
    tmp_path: Path, name: str, text: str, why: str
) -> None:
    path = tmp_path / name
    path.write_text(text)

    with pytest.raises(ChecksInvalid, match=why) as refused:
        read_checks(path)
    assert str(path) in str(refused.value)
