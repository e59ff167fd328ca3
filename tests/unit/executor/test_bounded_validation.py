"""The answer's check: draft 2020-12 as the library does it, in bounded work for any input."""

import contextlib
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from executor.validation.bounded import MAX_STEPS, Undecided, first_errors
from executor.validation.report_schema import check_schema
from executor.validation.strict_json import NotJson, parse_strict_json

#: A hostile case may use this much memory beyond its own data, and no more.
MAX_MEMORY_BYTES = 64 * 1024 * 1024


def is_valid(value: Any, schema: dict[str, Any]) -> bool:
    return not first_errors(value, schema, limit=1)


SMALL = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["", "a", "ab", "b", 0.5]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "ab"]), inner, max_size=3)
    ),
    max_leaves=8,
)
SCHEMAS = st.recursive(
    st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["object", "array", "string", "number", "boolean"]),
            "enum": st.lists(SMALL, min_size=1, max_size=3),
            "const": SMALL,
            "minimum": st.integers(-1, 1),
            "maxLength": st.integers(0, 2),
            "required": st.lists(st.sampled_from(["a", "b"]), unique=True),
            "uniqueItems": st.booleans(),
            "pattern": st.sampled_from(["^a", "b$", "a|b", "^$"]),
        },
    ),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.sampled_from(["a", "b"]), inner),
            "patternProperties": st.dictionaries(st.sampled_from(["^a", "b$"]), inner),
            "additionalProperties": inner | st.booleans(),
            "items": inner,
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "oneOf": st.lists(inner, min_size=1, max_size=2),
            "allOf": st.lists(inner, min_size=1, max_size=2),
            "not": inner,
        },
    ),
    max_leaves=6,
)


@given(SMALL, SCHEMAS)
def test_it_judges_as_the_library_does(value: Any, schema: dict[str, Any]) -> None:
    assert is_valid(value, schema) == Draft202012Validator(schema).is_valid(value)


@pytest.mark.parametrize(
    ("items", "unique"),
    [
        ([1, 1.0], False),
        ([1, True], True),
        ([0, False], True),
        ([{"a": 1, "b": 2}, {"b": 2, "a": 1}], False),
        ([[1], [True]], True),
        ([[], {}], True),
        (["a", "a"], False),
        ([None, None], False),
        ([], True),
    ],
    ids=str,
)
def test_items_are_equal_as_json_says(items: list[Any], unique: bool) -> None:  # noqa: FBT001 - data
    assert is_valid(items, {"uniqueItems": True}) is unique


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("date", "2026-01-31", "2026-02-30"),
        ("date-time", "2026-01-31T09:00:00.5Z", "2026-01-31 09:00"),
        ("date-time", "2026-01-31T09:00:00+02:00", "2026-13-31T09:00:00Z"),
        ("uuid", "00000000-0000-0000-0000-000000000000", "0"),
        ("ipv4", "127.0.0.1", "127.0.0.256"),
        ("ipv6", "::1", ":::"),
        ("email", "a@example.com", "a"),
    ],
)
def test_known_formats_are_held(name: str, good: str, bad: str) -> None:
    assert is_valid(good, {"format": name})
    assert not is_valid(bad, {"format": name})
    assert is_valid(7, {"format": name})


def test_an_error_names_its_path_and_its_keyword() -> None:
    schema = {"properties": {"a": {"additionalProperties": False}}}

    (error,) = first_errors({"a": {"b": 1}}, schema, limit=5)

    assert list(error.absolute_path) == ["a", "b"]
    assert error.validator == "additionalProperties"


def test_no_more_errors_are_looked_for_than_asked() -> None:
    assert len(first_errors([1] * 100, {"items": {"type": "string"}}, limit=10)) == 10


def test_the_schemas_dialect_cannot_choose_another_validator() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "properties": {"next": {"$ref": "#"}, "text": {"pattern": "(a+)+$"}},
    }

    assert not is_valid({"next": {"text": "a" * 50 + "!"}}, schema)


def test_steps_beyond_the_bound_are_not_taken() -> None:
    with pytest.raises(Undecided, match="too many steps"):
        first_errors([1] * 100, {"items": {"type": "integer"}}, limit=1, max_steps=99)


def report(details: Any, **root: Any) -> dict[str, Any]:
    summary = {"required": ["markdown"], "properties": {"markdown": {"type": "string"}}}
    return {
        "required": ["summary", "details"],
        "properties": {"summary": summary, "details": details},
        **root,
    }


def deep(leaf: Any, levels: int = 50) -> Any:
    for _ in range(levels):
        leaf = {"a": leaf}
    return leaf


TREE = {"properties": {"a": {"anyOf": [{"$ref": "#/$defs/t"}, {"$ref": "#/$defs/t"}]}}}
ROWS = [{"i": index} for index in range(20_000)]

#: Each case is a schema that passes the gate, and a value. Many of the cases would keep the
#: library busy for ever.
HOSTILE: dict[str, tuple[dict[str, Any], Callable[[], Any]]] = {
    "catastrophic pattern": (report({"pattern": "^(a+)+$"}), lambda: "a" * 100_000 + "!"),
    "catastrophic alternatives": (report({"pattern": "^(a|a)*$"}), lambda: "a" * 100_000 + "!"),
    "pattern as large as allowed": (
        report({"items": {"pattern": "(a?){500}a{500}"}}),
        lambda: ["a" * 400] * 1_000,
    ),
    "catastrophic name pattern": (
        report({"patternProperties": {"^(a+)+$": False}, "additionalProperties": False}),
        lambda: {"a" * 60 + "!": 1},
    ),
    "doubling with the value's depth": (
        report({"$ref": "#/$defs/t"}, **{"$defs": {"t": {**TREE, "type": "object"}}}),
        lambda: deep("no object"),
    ),
    "everything compared with everything": (report({"uniqueItems": True}), lambda: ROWS),
    "every item against a long list": (
        report({"items": {"enum": [str(index) for index in range(5_000)]}}),
        lambda: ["x"] * 20_000,
    ),
    "every item searched for again and again": (
        report({"allOf": [{"contains": {"const": index}} for index in range(450)]}),
        lambda: [-1] * 50_000,
    ),
    "errors that quote a large value": (
        report({"anyOf": [False] * 900}),
        lambda: {"t": "x" * 200_000},
    ),
    "a number that is no multiple": (report({"multipleOf": 1e-300}), lambda: 1e308),
    "an integer that is no double": (report({"multipleOf": 0.1}), lambda: 10**308),
    "a very long list": (report({"items": {"not": {"not": {}}}}), lambda: [0] * 200_000),
    "a very deep value": (
        report({"$ref": "#/$defs/t"}, **{"$defs": {"t": TREE}}),
        lambda: deep(1),
    ),
    "a format that is an expression": (report({"format": "regex"}), lambda: "(" * 100_000),
}


@pytest.fixture
def bounded_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MAX_MEMORY_BYTES


def decide(name: str, max_steps: int) -> None:
    schema, make = HOSTILE[name]
    check_schema(schema)
    value = {"summary": {"markdown": "m"}, "details": make()}
    with contextlib.suppress(Undecided):
        assert len(first_errors(value, schema, limit=10, max_steps=max_steps)) <= 10


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pair_is_decided_or_given_up_in_bounded_work(name: str) -> None:
    decide(name, MAX_STEPS)


@pytest.mark.usefixtures("bounded_memory")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pair_takes_bounded_memory(name: str) -> None:
    # The memory in use grows with the steps, and tracing each allocation takes time.
    decide(name, MAX_STEPS // 8)


@pytest.mark.usefixtures("bounded_memory")
@pytest.mark.parametrize(
    "text",
    ["[" * 4_000_000, "[" + "[]," * 100_000 + "[]]", "9" * 4_000_000, '{"a":' * 100_000],
    ids=lambda text: text[:8],
)
def test_a_hostile_text_is_read_or_refused_in_bounded_memory(text: str) -> None:
    with contextlib.suppress(NotJson):
        parse_strict_json(text)
