"""The schema registry's gate: what a schema must be before the model is asked to follow it."""

from typing import Any

import pytest

from executor.contract.profile import parse_profile
from executor.contract.registry import parse_schema_document
from executor.validation.report_schema import (
    MAX_SCHEMA_BYTES,
    SchemaInvalid,
    check_schema,
    output_schema,
)
from executor.validation.structure import MAX_DEPTH, MAX_REFERENCE_CHAIN, MAX_SUBSCHEMAS
from infra.local.scenario.schemas import schema_documents
from shared.domain.errors import LlmProfileInvalid

SCHEMA_ID = "llm_schema_1M_report_v1_0"
REFERENCE_SHA256 = "1267bf2982c5b2ab8991ffe70894134f0357f0bc7deb8a61d9959fa886a24797"


def report_schema(details: Any = None, **root: Any) -> dict[str, Any]:
    summary = {
        "type": "object",
        "required": ["markdown"],
        "properties": {"markdown": {"type": "string"}},
    }
    return {
        "type": "object",
        "required": ["summary", "details"],
        "properties": {"summary": summary, "details": details or {"type": "object"}},
        **root,
    }


def problem(schema: dict[str, Any]) -> str:
    with pytest.raises(SchemaInvalid) as caught:
        check_schema(schema)
    return str(caught.value)


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"items": schema}
    return schema


def test_the_reference_schema_passes_with_the_contracts_hash() -> None:
    reference = schema_documents()[SCHEMA_ID]["jsonSchema"]

    assert check_schema(reference) == (REFERENCE_SHA256, ())


@pytest.mark.parametrize("schema_id", sorted(schema_documents()))
def test_the_shipped_schemas_hold_the_model_to_all_they_say(schema_id: str) -> None:
    _, warnings = check_schema(schema_documents()[schema_id]["jsonSchema"])

    assert warnings == ()


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({}, "must require summary"),
        ({**report_schema(), "required": ["summary"]}, "must require details"),
        (
            {**report_schema(), "properties": {"summary": {}, "details": {}}},
            "must require summary.markdown",
        ),
        (
            {
                **report_schema(),
                "properties": {
                    "summary": {"required": ["markdown"], "properties": {"markdown": {}}}
                },
            },
            "summary.markdown must be a string",
        ),
        (report_schema({"type": "text"}), "not a draft 2020-12 schema at /properties/details"),
        (report_schema({"minimum": "1"}), "not a draft 2020-12 schema"),
        (report_schema({"multipleOf": 0}), "not a draft 2020-12 schema"),
        (report_schema({"const": float("nan")}), "has no canonical JSON"),
        (report_schema({"const": 2**60}), "has no canonical JSON"),
        (report_schema({"const": "\ud800"}), "has no canonical JSON"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_schema_unfit_for_reports_is_refused(schema: dict[str, Any], message: str) -> None:
    assert message in problem(schema)


@pytest.mark.parametrize(
    ("details", "message"),
    [
        ({"$ref": "https://example.com/schema"}, "must lead to a subschema"),
        ({"$ref": "other.json#/x"}, "must lead to a subschema"),
        ({"$ref": "#/$defs/missing"}, "must lead to a subschema"),
        ({"$ref": "#/required"}, "must lead to a subschema"),
        (
            {"$ref": "#anchor", "$defs": {"a": {"$anchor": "anchor"}}},
            "must lead to a subschema",
        ),
        ({"$ref": 7}, "must lead to a subschema"),
        ({"$ref": "#/properties/details"}, "contains itself"),
        ({"required": ["x"], "properties": {"x": {"$ref": "#"}}}, "contains itself"),
        ({"additionalProperties": {"$ref": "#"}}, "contains itself"),
        ({"$dynamicRef": "#x"}, "$dynamicRef at /properties/details is not supported"),
        ({"$dynamicAnchor": "x"}, "$dynamicAnchor at /properties/details is not supported"),
        ({"unevaluatedProperties": False}, "unevaluatedProperties at"),
        ({"unevaluatedItems": False}, "unevaluatedItems at"),
        ({"$id": "https://example.com/"}, "$id at /properties/details: only at the top"),
        (
            {"$schema": "http://json-schema.org/draft-07/schema#"},
            "$schema at /properties/details: only",
        ),
        (
            {"$schema": "https://json-schema.org/draft/2020-12/schema"},
            "$schema at /properties/details: only",
        ),
        (
            {"$ref": "#/properties/summary", "title": "x"},
            "$ref at /properties/details must stand",
        ),
        ({"pattern": "(?=a)b"}, "the pattern at /properties/details is not a regular"),
        ({"pattern": r"(a)\1"}, "the pattern at /properties/details is not a regular"),
        (
            {"patternProperties": {"(": {}}},
            "the pattern at /properties/details is not a regular",
        ),
        ({"pattern": "a" * 1001}, "the pattern at /properties/details is longer than 1000"),
    ],
    ids=lambda value: str(value)[:48] if isinstance(value, dict) else "",
)
def test_what_gemini_would_refuse_or_nobody_can_bound_is_an_error(
    details: dict[str, Any], message: str
) -> None:
    assert message in problem(report_schema(details))


def test_the_dialect_and_an_id_may_stand_at_the_top() -> None:
    check_schema(
        report_schema(
            **{
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "$id": "https://example.com/report",
            }
        )
    )
    assert "only https://json-schema.org/draft/2020-12/schema" in problem(
        report_schema(**{"$schema": "http://json-schema.org/draft-07/schema#"})
    )


def test_a_reference_may_lead_back_through_an_optional_property() -> None:
    level = {"type": "object", "properties": {"next": {"$ref": "#/$defs/level"}}}

    check_schema(report_schema({"$ref": "#/$defs/level"}, **{"$defs": {"level": level}}))


def test_a_reference_may_name_a_member_with_a_slash_a_tilde_or_a_percent_sign() -> None:
    definitions = {"a/b~c%d": {"type": "string"}}

    check_schema(report_schema({"$ref": "#/$defs/a~1b~0c%25d"}, **{"$defs": definitions}))


def test_a_word_that_is_data_is_not_taken_for_a_keyword() -> None:
    data = {"$ref": "https://example.com/", "$dynamicRef": "#x", "pattern": "("}

    check_schema(
        report_schema(
            {"type": "object", "properties": {"$ref": {}, "pattern": {}}, "default": data}
        )
    )


@pytest.mark.parametrize(
    ("details", "warning"),
    [
        ({"pattern": "^a"}, "pattern at /properties/details: Gemini ignores it"),
        ({"minLength": 1}, "minLength at /properties/details: Gemini ignores it"),
        ({"const": 1}, "const at /properties/details: Gemini ignores it"),
        ({"allOf": [{}]}, "allOf at /properties/details: Gemini ignores it"),
        ({"exclusiveMinimum": 1}, "exclusiveMinimum at /properties/details: Gemini"),
        ({"multipleOf": 2}, "multipleOf at /properties/details: Gemini ignores it"),
        ({"enum": [None]}, "enum at /properties/details: Gemini ignores it"),
        ({"format": "hostname"}, "format at /properties/details: not one that"),
        ({"maximun": 1}, "maximun at /properties/details: nothing enforces it"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_only_the_answers_check_enforces_is_a_warning(
    details: dict[str, Any], warning: str
) -> None:
    _, warnings = check_schema(report_schema(details))

    assert len(warnings) == 1
    assert warnings[0].startswith(warning)


@pytest.mark.parametrize(
    "details",
    [
        {"enum": ["a", 1, 1.5]},
        {"format": "date-time"},
        {"minItems": 1, "maxItems": 2, "prefixItems": [{}], "items": {}},
        {"anyOf": [{}], "title": "t", "description": "d", "propertyOrdering": ["a"]},
        {"$comment": "c", "default": {}, "examples": [1]},
    ],
    ids=str,
)
def test_what_gemini_documents_is_no_warning(details: dict[str, Any]) -> None:
    assert check_schema(report_schema(details))[1] == ()


def test_size_depth_and_number_are_bounded() -> None:
    # Two levels stand above `details`.
    check_schema(report_schema(nested(MAX_DEPTH - 2)))
    assert "nested deeper than 32" in problem(report_schema(nested(MAX_DEPTH - 1)))

    others = 4  # the root, summary, summary.markdown, details
    full: dict[str, Any] = {
        "properties": {str(index): {} for index in range(MAX_SUBSCHEMAS - others)}
    }
    check_schema(report_schema(full))
    full["properties"]["one more"] = {}
    assert "more than 1000 subschemas" in problem(report_schema(full))

    description = "x" * MAX_SCHEMA_BYTES
    assert "at most 65536 are allowed" in problem(report_schema(description=description))


def test_a_reference_chain_is_bounded() -> None:
    def chain(length: int) -> dict[str, Any]:
        links: dict[str, Any] = {
            f"d{index}": {"$ref": f"#/$defs/d{index + 1}"} for index in range(length)
        }
        links[f"d{length}"] = {}
        return report_schema({"$ref": "#/$defs/d0"}, **{"$defs": links})

    check_schema(chain(MAX_REFERENCE_CHAIN - 2))
    assert "lead to one another" in problem(chain(MAX_REFERENCE_CHAIN - 1))


def test_references_that_double_the_work_with_every_line_are_refused() -> None:
    lines: dict[str, Any] = {
        f"d{index}": {"allOf": [{"$ref": f"#/$defs/d{index + 1}"}] * 2} for index in range(40)
    }
    lines["d40"] = {}

    found = problem(report_schema({"$ref": "#/$defs/d0"}, **{"$defs": lines}))

    assert "more than 1000 subschemas apply to one value" in found


def test_the_hash_is_recomputed_and_compared_with_every_claim() -> None:
    published = {**schema_documents()[SCHEMA_ID], "sha256": "0" * 64}
    structured = {"schemaId": SCHEMA_ID, "kind": "LLM_REPORT_OUTPUT"}
    profile = parse_profile({"modelName": "m", "structuredOutput": structured})

    found = output_schema(profile, parse_schema_document(SCHEMA_ID, published))  # type: ignore[arg-type]  # a literal id

    assert found.sha256 == REFERENCE_SHA256
    assert found.drifted_from == "0" * 64
    assert found.major == 1


def test_a_profiles_stale_hash_is_a_drift_too() -> None:
    structured = {
        "schemaId": SCHEMA_ID,
        "kind": "LLM_REPORT_OUTPUT",
        "schemaSha256": "f" * 64,
    }
    profile = parse_profile({"modelName": "m", "structuredOutput": structured})
    document = parse_schema_document(SCHEMA_ID, schema_documents()[SCHEMA_ID])  # type: ignore[arg-type]  # a literal id

    assert output_schema(profile, document).drifted_from == "f" * 64


def test_a_schema_that_is_not_published_is_named() -> None:
    structured = {"schemaId": SCHEMA_ID, "kind": "LLM_REPORT_OUTPUT"}
    profile = parse_profile({"modelName": "m", "structuredOutput": structured})

    with pytest.raises(LlmProfileInvalid, match=f"{SCHEMA_ID}: there is no such schema"):
        output_schema(profile, None)
