"""What is asked when an answer breaks its schema, and when nothing is."""

from dataclasses import replace
from typing import Any

import pytest

from executor.ports import ModelAnswer
from executor.repair import MAX_SHOWN_BYTES, repair_request, repairable
from executor.structured_output import Kind, read_output
from shared.domain.errors import InvalidStructuredOutput
from tests.held_job import REQUEST
from tests.worker import ANSWER

SCHEMA: dict[str, Any] = {"type": "object", "required": ["summary", "details"]}


def problem(answer: ModelAnswer) -> InvalidStructuredOutput:
    with pytest.raises(InvalidStructuredOutput) as raised:
        read_output(answer, SCHEMA)
    return raised.value


@pytest.mark.parametrize(
    ("answer", "kind", "helps"),
    [
        (replace(ANSWER, text="prose"), Kind.JSON_PARSE, True),
        (replace(ANSWER, text=None), Kind.MISSING_TEXT, True),
        (replace(ANSWER, text="{}"), Kind.SCHEMA_VALIDATION, True),
        (replace(ANSWER, text='{"a', finish_reason="MAX_TOKENS"), Kind.JSON_PARSE, True),
        (replace(ANSWER, finish_reason="LANGUAGE"), Kind.FINISH_REASON, False),
    ],
    ids=["prose", "nothing", "schema", "cut off", "finish reason"],
)
def test_only_what_a_second_call_can_mend_is_repaired(
    answer: ModelAnswer, kind: Kind, *, helps: bool
) -> None:
    found = problem(answer)

    assert found.details["kind"] == kind
    assert repairable(found) is helps


def test_the_model_sees_its_answer_and_what_is_wrong_with_it() -> None:
    found = problem(replace(ANSWER, text="{}"))

    asked = repair_request(REQUEST, "{}", found)

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
    asked = repair_request(REQUEST, former, problem(replace(ANSWER, text="prose")))

    assert asked.correction is not None
    assert (asked.correction.former_text is not None) is shown


def test_an_answer_that_is_no_unicode_is_sent_back_as_far_as_it_can_be() -> None:
    found = problem(replace(ANSWER, text='{"a": "\ud800"}'))

    asked = repair_request(REQUEST, '{"a": "\ud800"}', found)

    assert asked.correction is not None
    assert ascii(asked.correction.former_text) == ascii('{"a": "?"}')
