"""A schema that invites an empty report is warned of before money is spent."""

from typing import Any

import pytest

from executor.validation.schema_advice import schema_advice

SOUND_DETAILS = {"type": "object", "required": ["levels"], "properties": {"levels": {}}}
SOUND_MARKDOWN = {"type": "string", "minLength": 200}


def report(
    details: dict[str, Any] = SOUND_DETAILS, markdown: dict[str, Any] = SOUND_MARKDOWN
) -> dict[str, Any]:
    summary = {"type": "object", "required": ["markdown"], "properties": {"markdown": markdown}}
    return {"type": "object", "properties": {"summary": summary, "details": details}}


def test_a_schema_that_asks_for_something_gets_no_advice() -> None:
    assert list(schema_advice(report())) == []


@pytest.mark.parametrize(
    "details",
    [
        {"type": "object"},
        {"type": "object", "additionalProperties": True},
        {"type": "object", "required": [], "properties": {"levels": {}}},
    ],
)
def test_free_form_details_are_told_with_the_line_that_mends_them(
    details: dict[str, Any],
) -> None:
    [advice] = schema_advice(report(details=details))

    assert "details" in advice
    assert '"required"' in advice


@pytest.mark.parametrize(
    "details",
    [{"$ref": "#/$defs/d"}, {"type": "object", "minProperties": 1}, {"anyOf": [SOUND_DETAILS]}],
)
def test_details_that_may_ask_for_something_are_left_alone(details: dict[str, Any]) -> None:
    assert list(schema_advice(report(details=details))) == []


def test_markdown_that_may_be_empty_is_told_with_the_line_that_mends_it() -> None:
    [advice] = schema_advice(report(markdown={"type": "string"}))

    assert '"minLength": 200' in advice
