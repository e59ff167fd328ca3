"""A whole double is an integer, in every document that others write."""

import math
from typing import Any

import pytest

from executor.contract.profile import parse_profile
from executor.contract.registry import parse_prompt, parse_schema_document
from infra.ops.environment.stored_documents import integer_at
from shared.domain.errors import LlmProfileInvalid
from shared.domain.identifiers import PromptId, SchemaId
from shared.domain.numbers import with_whole_numbers

PROFILE = {"modelName": "gemini-3.5-flash", "jsonSchema": {}}


@pytest.mark.parametrize(
    ("field", "value", "attribute"),
    [
        ("maxOutputTokens", 8192.0, "max_output_tokens"),
        ("candidateCount", 1.0, "candidate_count"),
        ("topK", 40.0, "top_k"),
        ("temperature", 1.0, "temperature"),
        ("topP", 0.0, "top_p"),
    ],
)
def test_a_profile_s_whole_doubles_are_what_they_say(
    field: str, value: float, attribute: str
) -> None:
    assert getattr(parse_profile({**PROFILE, field: value}), attribute) == value


@pytest.mark.parametrize("value", [8192.5, math.inf, math.nan, 2.0**60, True, "8192"])
def test_what_is_no_whole_number_is_still_refused(value: Any) -> None:
    with pytest.raises(LlmProfileInvalid, match="maxOutputTokens"):
        parse_profile({**PROFILE, "maxOutputTokens": value})


def test_a_schema_s_bounds_are_integers_at_any_depth() -> None:
    schema = {"type": "array", "maxItems": 5.0, "items": {"minLength": 1.0, "x": [2.0, 0.5]}}
    profile = parse_profile({**PROFILE, "jsonSchema": schema})
    name = SchemaId("llm_schema_1d_report_v1_0")
    document = parse_schema_document(
        name,
        {
            "schemaId": name,
            "kind": "LLM_REPORT_OUTPUT",
            "jsonSchema": schema,
            "sha256": "0" * 64,
        },
    )

    for found in (profile.inline_schema, document.json_schema):
        assert found is not None
        assert (type(found["maxItems"]), type(found["items"]["minLength"])) == (int, int)
        assert found["items"]["x"] == [2, 0.5]


def test_a_prompt_s_version_may_be_a_double() -> None:
    data = {"schemaVersion": 1.0, "systemInstruction": "s", "userPrompt": "u"}

    assert parse_prompt(PromptId("llm_prompt_1d_report_v1_0"), data).schema_version == 1


def test_an_operator_reads_a_whole_double_as_the_integer_that_it_is() -> None:
    assert integer_at({"a": 3.0}, "a") == 3
    assert integer_at({"a": 3.5}, "a") is None
    assert integer_at({"a": True}, "a") is None


@pytest.mark.parametrize("value", [None, True, "1.0", b"x", 1.5, math.inf, [], {}])
def test_what_is_no_whole_double_is_left_as_it_is(value: Any) -> None:
    assert with_whole_numbers(value) is value or with_whole_numbers(value) == value
