"""JSON as RFC 8259 means it, whatever the text."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.validation.strict_json import MAX_DEPTH, NotJson, parse_strict_json

PLAIN = st.text(st.characters(codec="utf-8"))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | PLAIN,
    lambda inner: st.lists(inner) | st.dictionaries(PLAIN, inner),
    max_leaves=20,
)


@given(VALUES)
def test_every_json_value_comes_back_as_it_was_written(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False)

    assert parse_strict_json(text) == value
    assert parse_strict_json(text.encode()) == value


@given(st.text(), st.binary())
def test_any_text_and_any_bytes_are_read_or_refused(text: str, data: bytes) -> None:
    for source in (text, data):
        try:
            value = parse_strict_json(source)
        except NotJson:
            continue
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON at character 0"),
        ("```json\n{}\n```", "not JSON at character 0"),
        ('{"a": 1} and more', "not JSON at character 9"),
        ("{'a': 1}", "not JSON at character 1"),
        ('{"a": 1,}', "not JSON"),
        ('{"a": 1, "a": 2}', "a key is given twice"),
        ('[{"b": {"a": 1, "\\u0061": 2}}]', "a key is given twice"),
        ("NaN", "NaN is not JSON"),
        ("[-Infinity]", "-Infinity is not JSON"),
        ("1e999", "beyond double precision's range"),
        ("-1e999", "beyond double precision's range"),
        ("9" * 309, "beyond double precision's range"),
        ("9" * 1_000_000, "beyond double precision's range"),
        ('"\\ud800"', "a lone surrogate"),
        ('{"\\udfff": 1}', "a lone surrogate"),
        ('["a\ud800"]', "a lone surrogate"),
        ("[" * 100_000, "nested deeper than 64 levels"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "nested deeper than 64 levels"),
        ('{"a":' * 500 + "1" + "}" * 500, "nested deeper than 64 levels"),
        (b"\xff", "not UTF-8"),
        (b"\xef\xbb\xbf{}", "not JSON at character 0"),
        ("{}".encode("utf-16"), "not UTF-8"),
        ("{}".encode("utf-32-le"), "not JSON"),
    ],
    ids=lambda value: repr(value[:24]),
)
def test_what_is_not_strict_json_is_refused_with_the_reason(
    text: str | bytes, message: str
) -> None:
    with pytest.raises(NotJson) as caught:
        parse_strict_json(text)

    assert message in str(caught.value)


def test_the_deepest_allowed_value_is_read() -> None:
    text = "[" * MAX_DEPTH + "]" * MAX_DEPTH

    assert parse_strict_json(text) is not None


def test_numbers_up_to_the_range_of_double_precision_are_read_exactly() -> None:
    assert parse_strict_json("9" * 308) == 10**308 - 1
    assert parse_strict_json("1e308") == 1e308
    assert parse_strict_json("12345678901234567890") == 12345678901234567890


def test_a_surrogate_pair_is_a_character() -> None:
    assert parse_strict_json('"\\ud83d\\ude00"') == "😀"
