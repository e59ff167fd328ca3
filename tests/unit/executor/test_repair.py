"""What is asked when an answer breaks its schema, and when nothing is."""

from dataclasses import replace
from typing import Any

import pytest

from executor.contract.profile import parse_profile
from executor.ports import ModelAnswer, ModelRequest
from executor.validation.answer import Kind, read_output
from executor.validation.repair import (
    MAX_SHOWN_BYTES,
    MOST_OUTPUT_TOKENS,
    second_request,
)
from shared.domain.errors import InvalidStructuredOutput
from tests.support.held_job import REQUEST
from tests.support.worker import ANSWER

SCHEMA: dict[str, Any] = {"type": "object", "required": ["summary", "details"]}


def problem(answer: ModelAnswer) -> InvalidStructuredOutput:
    with pytest.raises(InvalidStructuredOutput) as raised:
        read_output(answer, SCHEMA)
    return raised.value


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (replace(ANSWER, text="prose"), Kind.JSON_PARSE),
        (replace(ANSWER, text=None), Kind.MISSING_TEXT),
        (replace(ANSWER, text="{}"), Kind.SCHEMA_VALIDATION),
        (replace(ANSWER, text='{"a', finish_reason="MAX_TOKENS"), Kind.JSON_PARSE),
    ],
    ids=["prose", "nothing", "schema", "cut off"],
)
def test_an_answer_that_cannot_be_used_is_corrected(answer: ModelAnswer, kind: Kind) -> None:
    found = problem(answer)
    asked = second_request(REQUEST, answer, found)

    assert found.details["kind"] == kind
    assert asked is not None
    assert asked.correction is not None


@pytest.mark.parametrize("reason", ["OTHER", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL"])
def test_an_answer_that_broke_off_is_asked_for_again_as_it_was(reason: str) -> None:
    answer = replace(ANSWER, finish_reason=reason)

    assert second_request(REQUEST, answer, problem(answer)) == REQUEST


CUT = replace(ANSWER, text='{"a', finish_reason="MAX_TOKENS")


LIMITED = replace(
    REQUEST, profile=REQUEST.profile.model_copy(update={"max_output_tokens": 8_192})
)


def thinking(**config: Any) -> ModelRequest:
    data = {**LIMITED.profile.model_dump(by_alias=True, exclude_none=True)}
    return replace(LIMITED, profile=parse_profile({**data, "thinkingConfig": config}))


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ({}, "LOW"),
        ({"thinkingLevel": "HIGH"}, "LOW"),
        ({"thinkingLevel": "MEDIUM"}, "LOW"),
        ({"thinkingLevel": "LOW"}, "MINIMAL"),
    ],
)
def test_where_thoughts_used_up_the_limit_the_second_call_thinks_less(
    level: dict[str, Any], expected: str
) -> None:
    asked = second_request(thinking(**level, includeThoughts=False), CUT, problem(CUT))

    assert asked is not None
    assert asked.profile.thinking_config is not None
    assert asked.profile.thinking_config.thinking_level == expected
    assert asked.profile.thinking_config.include_thoughts is False
    assert asked.correction is not None


def test_thoughts_on_the_bill_count_as_well() -> None:
    answer = replace(CUT, usage={"thoughtsTokenCount": 900})
    asked = second_request(LIMITED, answer, problem(answer))

    assert asked is not None
    assert asked.profile.thinking_config is not None
    assert asked.profile.thinking_config.thinking_level == "LOW"


@pytest.mark.parametrize(
    ("usage", "made"),
    [
        (None, False),
        ({"thoughtsTokenCount": 900}, False),
        ({"thoughtsTokenCount": 900, "candidatesTokenCount": 90}, False),
        ({"thoughtsTokenCount": "90", "candidatesTokenCount": "900"}, True),
        ({"candidatesTokenCount": 900}, True),
    ],
)
def test_a_model_that_cannot_think_less_is_asked_again_where_its_text_was_too_long(
    usage: dict[str, Any] | None, *, made: bool
) -> None:
    request, answer = thinking(thinkingLevel="MINIMAL"), replace(CUT, usage=usage)

    asked = second_request(request, answer, problem(answer))

    assert (asked is not None) is made
    assert asked is None or asked.profile == request.profile


USED = {"thoughtsTokenCount": 8_000, "candidatesTokenCount": 192}


@pytest.mark.parametrize("level", [None, "HIGH", "MINIMAL"])
def test_where_the_profile_names_no_limit_the_second_call_has_all_the_room_there_is(
    level: str | None,
) -> None:
    request = without_limit(thinking(thinkingLevel=level))
    answer = replace(CUT, usage=USED)

    asked = second_request(request, answer, problem(answer))

    assert asked is not None
    assert asked.profile.max_output_tokens == MOST_OUTPUT_TOKENS
    assert asked.profile.thinking_config == request.profile.thinking_config


@pytest.mark.parametrize("used", [MOST_OUTPUT_TOKENS, MOST_OUTPUT_TOKENS + 1, 0])
def test_a_model_that_used_all_its_room_or_does_not_say_thinks_less(used: int) -> None:
    request = without_limit(thinking(thinkingLevel="HIGH"))
    answer = replace(CUT, usage={"candidatesTokenCount": used})

    asked = second_request(request, answer, problem(answer))

    assert asked is not None
    assert asked.profile.max_output_tokens is None
    assert asked.profile.thinking_config is not None
    assert asked.profile.thinking_config.thinking_level == "LOW"


@pytest.mark.parametrize("level", ["HIGH", "MINIMAL"])
def test_a_limit_that_the_profile_names_is_never_raised(level: str) -> None:
    answer = replace(CUT, usage={"candidatesTokenCount": 4_200, "thoughtsTokenCount": 3_992})

    asked = second_request(thinking(thinkingLevel=level), answer, problem(answer))

    assert asked is not None
    assert asked.profile.max_output_tokens == 8_192


def without_limit(request: ModelRequest) -> ModelRequest:
    return replace(
        request, profile=request.profile.model_copy(update={"max_output_tokens": None})
    )


def test_the_model_sees_its_answer_and_what_is_wrong_with_it() -> None:
    found = problem(replace(ANSWER, text="{}"))

    asked = second_request(REQUEST, replace(ANSWER, text="{}"), found)

    assert asked is not None
    assert replace(asked, correction=None) == REQUEST
    assert asked.correction is not None
    assert asked.correction.former_text == "{}"
    assert "at the top: required" in asked.correction.instruction


@pytest.mark.parametrize(
    ("former", "shown"),
    [
        ("ü" * (MAX_SHOWN_BYTES // 2), True),
        ("ü" * (MAX_SHOWN_BYTES // 2) + "x", False),
        (None, False),
    ],
    ids=["at the limit", "over it", "none"],
)
def test_an_answer_that_ran_away_is_not_sent_back(former: str | None, *, shown: bool) -> None:
    answer = replace(ANSWER, text=former)
    asked = second_request(REQUEST, answer, problem(replace(ANSWER, text="prose")))

    assert asked is not None
    assert asked.correction is not None
    assert (asked.correction.former_text is not None) is shown


def test_an_answer_that_is_no_unicode_is_sent_back_as_far_as_it_can_be() -> None:
    answer = replace(ANSWER, text='{"a": "\ud800"}')

    asked = second_request(REQUEST, answer, problem(answer))

    assert asked is not None
    assert asked.correction is not None
    assert ascii(asked.correction.former_text) == ascii('{"a": "?"}')
