"""From an answer to the report's output, or to a diagnosis that gives nothing away."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.contract.canonical import sha256_hex
from executor.ports import ModelAnswer
from executor.validation.answer import read_output, unfenced
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

    assert found.details["kind"] == found.kind == kind
    assert found.message == f"kind={kind} finishReason=STOP"


#: This schema demands nothing: the contract alone says what a report must be.
LAX: dict[str, Any] = {"properties": {"summary": {}, "details": {}}}


@pytest.mark.parametrize(
    ("output", "path", "rule"),
    [
        ({**GOOD, "metadata": {}}, "*", "additionalProperties"),
        (
            {**GOOD, "summary": {"markdown": "m", "other": 1}},
            "summary/*",
            "additionalProperties",
        ),
        ({**GOOD, "details": []}, "details", "type"),
        ({**GOOD, "summary": {"markdown": "m", "html": 1}}, "summary/html", "type"),
        ({**GOOD, "summary": {"markdown": 1}}, "summary/markdown", "type"),
        ({**GOOD, "summary": {}}, "summary", "required"),
        ({**GOOD, "summary": "text"}, "summary", "type"),
        ({"summary": GOOD["summary"]}, "", "required"),
        ({"details": {}}, "", "required"),
        ([], "", "type"),
        ("text", "", "type"),
    ],
    ids=str,
)
def test_no_schema_lets_anything_else_into_a_report_than_the_contract(
    output: Any, path: str, rule: str
) -> None:
    found = problem(json.dumps(output), LAX)

    assert found.details["kind"] == "schema_validation"
    assert found.details["errors"] == [{"path": path, "error": rule}]


def test_a_summary_may_have_html_beside_its_markdown() -> None:
    both = {**GOOD, "summary": {"markdown": "# Report", "html": "<h1>Report</h1>"}}

    assert read_output(answer(json.dumps(both)), LAX) == both


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

    assert len(problem(text, strict).details["errors"]) == 10


def test_a_path_of_a_diagnosis_ends_after_128_characters() -> None:
    nested: Any = "wrong"
    for _ in range(50):
        nested = [*[None] * 11, nested]
    level: dict[str, Any] = {"items": {"$ref": "#/$defs/t"}, "not": {"type": "string"}}
    strict = schema({"properties": {"a": {"$ref": "#/$defs/t"}}}, **{"$defs": {"t": level}})

    [found] = problem(json.dumps({**GOOD, "details": {"a": nested}}), strict).details["errors"]

    assert found == {"path": ("details/*" + "/11" * 50)[:128], "error": "not"}


def test_a_check_that_cannot_be_finished_is_an_invalid_answer() -> None:
    level = {"properties": {"a": {"anyOf": [{"$ref": "#/$defs/t"}] * 2}}, "type": "object"}
    hostile = schema({"$ref": "#/$defs/t"}, **{"$defs": {"t": level}})
    deep: Any = "no object"
    for _ in range(50):
        deep = {"a": deep}

    found = problem(json.dumps({**GOOD, "details": deep}), hostile)

    assert found.details["errors"] == [{"path": "", "error": "the check takes too many steps"}]


def test_an_answer_too_large_to_tell_whether_it_is_a_report_is_an_invalid_one() -> None:
    """The registry's schema asks little of it; the rules for every report ask more."""
    many = json.dumps({**GOOD, "details": {"a": [1] * 700_000}})

    found = problem(many, {"type": "object"})

    assert found.details["errors"] == [{"path": "", "error": "the check takes too many steps"}]


@pytest.mark.parametrize("bracket", ["[]", "{}"])
def test_more_lists_and_objects_than_any_report_has_are_not_even_parsed(bracket: str) -> None:
    most = 131_072 - 4
    at_the_limit = f"[{', '.join([bracket] * most)}]"

    def text(inside: str) -> str:
        return f'{{"summary": {{"markdown": "m"}}, "details": {{"a": {inside}}}}}'

    output = read_output(answer(text(at_the_limit)), schema())
    found = problem(text(f"[{at_the_limit}]"))

    assert len(output["details"]["a"]) == most
    assert found.details["kind"] == "json_parse"
    assert found.details["errors"] == [
        {"path": "", "error": "more than 131072 lists and objects"}
    ]


def test_a_text_far_beyond_any_token_limit_is_not_even_parsed() -> None:
    longest = json.dumps(GOOD).ljust(4_194_304)

    assert read_output(answer(longest), schema()) == GOOD
    found = problem(longest + " ")
    assert found.details["kind"] == "json_parse"
    assert found.details["errors"] == [{"path": "", "error": "more than 4194304 characters"}]


def test_a_text_that_is_no_json_is_told_with_the_reason_and_no_word_of_it() -> None:
    found = problem('{"a": 1, "a": 2}')

    assert found.details["errors"] == [{"path": "", "error": "a key is given twice"}]


@pytest.mark.parametrize(("text", "size_bytes"), [(None, 0), ("\ud800", 3), ("é", 2)])
def test_a_diagnosis_counts_the_bytes_that_came(text: str | None, size_bytes: int) -> None:
    found = problem(text)

    sent = (text or "").encode("utf-8", "surrogatepass")
    assert (found.details["textBytes"], len(sent)) == (size_bytes, size_bytes)
    assert found.details["textSha256"] == sha256_hex(sent)


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


@pytest.mark.parametrize(
    "around",
    ["```json\n{}\n```", "```\n{}\n```", "\n```JSON {} ```\n", "```json\r\n{}\r\n```\r\n"],
)
def test_one_fence_around_the_whole_text_is_taken_off_and_told(around: str) -> None:
    report = '{"summary": {"markdown": "```a```"}, "details": {}}'

    read = unfenced(answer(around.replace("{}", report)))

    assert read.text == report
    assert read.fence_removed


@pytest.mark.parametrize(
    "text",
    [
        'Here it is: ```json\n{"a": 1}\n```',
        '```json\n{"a": 1}\n``` That is all.',
        '```yaml\n{"a": 1}\n```',
        "```json\n[1]\n```",
        '```json\n{"a": 1}',
        '{"a": "```json {} ```"}',
        "",
    ],
)
def test_nothing_else_is_guessed(text: str) -> None:
    asked = answer(text)

    assert unfenced(asked) is asked


@given(
    st.dictionaries(
        st.text(), st.text() | st.sampled_from(["```", "```json\n{}\n```"]), max_size=4
    )
)
def test_taking_off_a_fence_never_changes_what_a_report_means(report: dict[str, str]) -> None:
    text = json.dumps(report)

    fenced = unfenced(answer(f"```json\n{text}\n```"))
    bare = unfenced(answer(text))

    assert bare.text == text
    assert fenced.text == text
