"""Reading an interaction, whatever the provider puts into it."""

import json
from typing import Any, get_args

import pytest
from google.genai.interactions import InteractionStatus
from hypothesis import given
from hypothesis import strategies as st

from executor.adapters.envelope import EnvelopeBroken
from executor.adapters.interaction_answer import parse_id, parse_interaction
from executor.ports import CallFailed, CallForgotten, CallRunning, ModelAnswer
from shared.domain.errors import GeminiRequestFailed, LlmSafetyBlock

RUNNING = {"queued", "in_progress"}
ANSWERED = {"completed": "STOP", "incomplete": "MAX_TOKENS"}


def body(**fields: Any) -> str:
    return json.dumps({"id": "v1_abc", "status": "completed", **fields})


def text(*texts: str) -> dict[str, Any]:
    return {
        "type": "model_output",
        "content": [{"type": "text", "text": each} for each in texts],
    }


def answered(**fields: Any) -> ModelAnswer:
    state = parse_interaction(body(**fields))
    assert isinstance(state, ModelAnswer)
    return state


def known_statuses() -> set[str]:
    literal, _ = get_args(InteractionStatus)
    return set(get_args(literal))


@pytest.mark.parametrize("status", sorted(known_statuses()))
def test_every_status_that_the_library_knows_has_its_meaning(status: str) -> None:
    state = parse_interaction(body(status=status))

    if status in RUNNING:
        assert isinstance(state, CallRunning)
    elif status in ANSWERED:
        assert isinstance(state, ModelAnswer)
        assert state.finish_reason == ANSWERED[status]
    else:
        assert isinstance(state, CallFailed)
        assert isinstance(state.error, GeminiRequestFailed)
        assert status in state.error.message


def test_an_unknown_status_is_waited_for() -> None:
    assert isinstance(parse_interaction(body(status="pondering")), CallRunning)


def test_the_answer_is_the_model_s_text_without_thoughts_and_input() -> None:
    thought = {"type": "thought", "summary": [{"type": "text", "text": "hm"}]}
    asked = {"type": "user_input", "content": [{"type": "text", "text": "well?"}]}

    answer = answered(steps=[asked, thought, text('{"a"', ": 1}"), text(" ")])

    assert answer.text == '{"a": 1} '


@pytest.mark.parametrize("steps", [None, [], [{"type": "thought"}], [text()]])
def test_no_text_is_no_text(steps: Any) -> None:
    assert answered(steps=steps).text is None


def test_usage_is_counted_under_the_names_of_the_other_interface() -> None:
    usage = {
        "total_input_tokens": 5,
        "total_output_tokens": 7,
        "total_thought_tokens": 2,
        "total_tokens": 14,
        "total_cached_tokens": 2**70,
        "input_tokens_by_modality": [{"modality": "text", "tokens": 5}],
    }

    assert answered(usage=usage).usage == {
        "promptTokenCount": 5,
        "candidatesTokenCount": 7,
        "thoughtsTokenCount": 2,
        "totalTokenCount": 14,
        # This count is there but cannot be read, so it does not tell what the call took.
        "cachedContentTokenCount": None,
    }


@pytest.mark.parametrize(
    "code", ["SAFETY", "https://ai.google.dev/errors/safety", "urn/prohibited_content"]
)
def test_a_block_ends_the_step_at_once(code: str) -> None:
    errors = [{"code": code, "message": "about: the prompt"}]

    state = parse_interaction(body(status="failed", errors=errors))

    assert isinstance(state, CallFailed)
    assert isinstance(state.error, LlmSafetyBlock)
    assert "prompt" not in str(state.error)


def test_the_provider_s_words_are_not_passed_on() -> None:
    errors = [{"code": "internal: canary", "message": "canary"}]

    state = parse_interaction(body(status="failed", errors=errors))

    assert isinstance(state, CallFailed)
    assert "canary" not in f"{state.error} {state.error.details}"


@pytest.mark.parametrize("found", ["", ".", "..", "a\nb", "\ud800", "x" * 1025, 1, None])
def test_an_id_that_no_address_can_hold_is_none(found: Any) -> None:
    with pytest.raises(EnvelopeBroken):
        parse_id(json.dumps({"id": found}))


@pytest.mark.parametrize("found", ["v1_ChdX-y_9", "a/b?c#d", "v1:9~.=+", "../models", "é"])
def test_an_id_is_taken_as_it_is(found: str) -> None:
    assert parse_id(body(id=found)) == found


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
FIELDS = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("id", "status", "steps", "usage", "errors", "model"), VALUES),
)


@given(
    FIELDS
    | st.just({"status": "completed"}).flatmap(
        lambda known: FIELDS.map(lambda fields: {**fields, **known})
    )
)
def test_nothing_that_comes_breaks_the_reader(fields: dict[str, Any]) -> None:
    try:
        state = parse_interaction(json.dumps(fields))
    except EnvelopeBroken:
        return
    assert isinstance(state, (ModelAnswer, CallRunning, CallFailed))
    assert not isinstance(state, CallForgotten)


@pytest.mark.parametrize("word", ["overloaded", "rate_limit_exceeded", "unavailable"])
@pytest.mark.parametrize("usage", [None, {"total_tokens": 7}])
def test_a_call_that_was_shed_is_a_refusal_and_one_that_was_evicted_is_billed(
    word: str, usage: dict[str, int] | None
) -> None:
    fields = {"status": "failed", "errors": [{"code": word}], "service_tier": "flex"}

    state = parse_interaction(body(**fields, **({"usage": usage} if usage else {})))

    assert isinstance(state, CallFailed)
    error = state.error
    assert isinstance(error, GeminiRequestFailed)
    assert error.refused is (usage is None)
    assert not error.maybe_billed
    if usage is None:
        assert error.served is None
    else:
        assert error.served is not None
        assert error.served.service_tier == "flex"
        assert error.served.usage == {"totalTokenCount": 7}
