"""From an answer to the report's output, or to a diagnosis that gives nothing away."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.ports import ModelAnswer
from executor.structured_output import MAX_DIAGNOSTICS, MAX_TEXT_CHARS, read_output
from shared.domain.canonical import sha256_hex
from shared.domain.errors import InvalidStructuredOutput

SUMMARY = {
    "type": "object",
    "required": ["markdown"],
    "properties": {"markdown": {"type": "string"}, "html": {"type": "string"}},
}
GOOD = {"summary": {"markdown": "# Report"}, "details": {}}


def schema(details: Any = None, **root: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": ["summary", "details"],
        "properties": {"summary": SUMMARY, "details": details or {"type": "object"}},
        **root,
    }


def answer(text: str | None, finish_reason: str = "STOP") -> ModelAnswer:
    return ModelAnswer(
        text=text,
        finish_reason=finish_reason,
        block_reason=None,
        model_version=None,
        response_id=None,
        usage=None,
    )


def problem(text: str | None, json_schema: dict[str, Any] | None = None) -> Any:
    with pytest.raises(InvalidStructuredOutput) as caught:
        read_output(answer(text), json_schema or schema())
    return caught.value


def test_an_answer_that_satisfies_the_schema_is_the_output() -> None:
    assert read_output(answer(json.dumps(GOOD)), schema()) == GOOD


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (None, "missing_text"),
        ("", "missing_text"),
        ("```json\n{}\n```", "json_parse"),
        ('{"summary": {"markdown": "cut', "json_parse"),
        ('{"summary": NaN}', "json_parse"),
        ('{"a": 1, "a": 2}', "json_parse"),
        ('{"summary": {"markdown": "\\ud800"}, "details": {}}', "json_parse"),
        ('{"summary": {"markdown": "m"}, "details": {"n": 1e999}}', "json_parse"),
        ("[" * 100_000, "json_parse"),
        ("[]", "schema_validation"),
        ('"text"', "schema_validation"),
        ('{"summary": {}}', "schema_validation"),
        ('{"summary": {"markdown": 1}, "details": {}}', "schema_validation"),
    ],
)
def test_what_is_wrong_has_a_kind(text: str | None, kind: str) -> None:
    found = problem(text)

    assert found.details["kind"] == kind
    assert found.message == f"kind={kind} finishReason=STOP"


@pytest.mark.parametrize(
    "output",
    [
        {**GOOD, "metadata": {}},
        {**GOOD, "summary": {"markdown": "m", "other": 1}},
        {**GOOD, "details": []},
        {**GOOD, "summary": {"markdown": "m", "html": 1}},
    ],
    ids=str,
)
def test_no_schema_lets_more_into_a_report_than_the_contract(output: Any) -> None:
    lax: dict[str, Any] = {"properties": {"summary": {}, "details": {}}}

    found = problem(json.dumps(output), lax)

    assert found.details["kind"] == "schema_validation"


def test_a_diagnosis_has_size_and_hash_of_the_text_and_paths_and_rules() -> None:
    text = json.dumps({"summary": {"markdown": 7}, "details": {"secret name": {"x": "y"}}})
    strict = schema({"additionalProperties": {"type": "string"}})

    found = problem(text, strict)

    assert found.details == {
        "kind": "schema_validation",
        "finishReason": "STOP",
        "textBytes": len(text),
        "textSha256": sha256_hex(text.encode()),
        "errors": [
            {"path": "summary/markdown", "error": "type"},
            {"path": "details/*", "error": "type"},
        ],
    }


def test_a_diagnosis_has_at_most_ten_errors() -> None:
    text = json.dumps({"summary": {"markdown": "m"}, "details": {"a": [1] * 50}})
    strict = schema({"properties": {"a": {"items": {"type": "string"}}}})

    assert len(problem(text, strict).details["errors"]) == MAX_DIAGNOSTICS


def test_a_check_that_cannot_be_finished_is_an_invalid_answer() -> None:
    level = {"properties": {"a": {"anyOf": [{"$ref": "#/$defs/t"}] * 2}}, "type": "object"}
    hostile = schema({"$ref": "#/$defs/t"}, **{"$defs": {"t": level}})
    deep: Any = "no object"
    for _ in range(50):
        deep = {"a": deep}

    found = problem(json.dumps({**GOOD, "details": deep}), hostile)

    assert found.details["errors"] == [{"path": "", "error": "the check takes too many steps"}]


def test_a_text_far_beyond_any_token_limit_is_not_even_parsed() -> None:
    found = problem('{"summary": "' + "x" * MAX_TEXT_CHARS)

    assert found.details["errors"][0]["error"] == f"more than {MAX_TEXT_CHARS} characters"


CANARY = "canary-7c1f"


@given(
    st.recursive(
        st.just(CANARY),
        lambda inner: st.lists(inner) | st.dictionaries(st.just(CANARY), inner),
        max_leaves=5,
    )
)
def test_no_word_of_the_model_is_in_a_diagnosis(value: Any) -> None:
    strict = schema({"additionalProperties": False, "maxProperties": 0})
    text = json.dumps({"summary": {"markdown": value}, "details": {CANARY: value}, CANARY: 1})

    found = problem(text, strict)

    assert CANARY not in found.message + json.dumps(found.details)
