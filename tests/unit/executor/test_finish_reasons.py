"""Every finish reason that the provider has, and those that it will have."""

import pytest
from google.genai.types import BlockedReason, FinishReason

from executor.ports import SAFETY_REASONS, ModelAnswer
from executor.validation.answer import COMPLETE_REASONS, read_output
from shared.domain.errors import InvalidStructuredOutput, LlmSafetyBlock

REPORT = '{"summary": {"markdown": "# x"}, "details": {}}'
#: For these reasons the model broke off although nothing was blocked. A test fails when the
#: library has yet another finish reason.
BROKEN_OFF = {
    "LANGUAGE",
    "OTHER",
    "MALFORMED_FUNCTION_CALL",
    "IMAGE_OTHER",
    "NO_IMAGE",
    "UNEXPECTED_TOOL_CALL",
    "TOO_MANY_TOOL_CALLS",
    "MISSING_THOUGHT_SIGNATURE",
    "MALFORMED_RESPONSE",
    "CONTINUATION",
}


def answer(
    finish_reason: str | None, *, text: str | None = REPORT, block_reason: str | None = None
) -> ModelAnswer:
    return ModelAnswer(
        text=text,
        finish_reason=finish_reason,
        block_reason=block_reason,
        model_version=None,
        response_id=None,
        usage=None,
    )


def test_every_finish_reason_of_the_library_has_its_place() -> None:
    places = [COMPLETE_REASONS - {None}, SAFETY_REASONS, BROKEN_OFF]

    assert {reason.value for reason in FinishReason} == set().union(*places)
    assert sum(map(len, places)) == len(FinishReason)


@pytest.mark.parametrize("reason", sorted(map(str, COMPLETE_REASONS - {None})))
def test_a_whole_answer_is_read_whatever_ended_it(reason: str) -> None:
    assert read_output(answer(reason), {})["details"] == {}


def test_an_answer_that_does_not_say_why_it_ended_is_read() -> None:
    assert read_output(answer(None), {})["details"] == {}


@pytest.mark.parametrize("reason", sorted(SAFETY_REASONS))
def test_a_block_of_the_answer_is_one_even_where_a_text_came(reason: str) -> None:
    with pytest.raises(LlmSafetyBlock) as problem:
        read_output(answer(reason), {})

    assert problem.value.message == f"the answer was blocked: {reason}"


@pytest.mark.parametrize("reason", [reason.value for reason in BlockedReason])
def test_a_block_of_the_prompt_comes_first(reason: str) -> None:
    with pytest.raises(LlmSafetyBlock) as problem:
        read_output(answer("STOP", block_reason=reason), {})

    assert problem.value.message == f"the prompt was blocked: {reason}"


@pytest.mark.parametrize("reason", [*sorted(BROKEN_OFF), "BORED", ""])
def test_an_answer_broken_off_is_not_used(reason: str) -> None:
    with pytest.raises(InvalidStructuredOutput) as problem:
        read_output(answer(reason), {})

    assert problem.value.details["kind"] == "finish_reason"
    assert problem.value.details["finishReason"] == reason


@pytest.mark.parametrize("text", [None, ""])
@pytest.mark.parametrize("reason", ["STOP", "MAX_TOKENS", None])
def test_no_text_is_told_apart_from_bad_text(reason: str | None, text: str | None) -> None:
    with pytest.raises(InvalidStructuredOutput) as problem:
        read_output(answer(reason, text=text), {})

    assert problem.value.details["kind"] == "missing_text"
