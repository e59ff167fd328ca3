"""What is read from the body of a generateContent answer."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executor.adapters.envelope import EnvelopeBroken
from executor.adapters.gemini_answer import parse_answer
from shared.adapters.firestore_values import write_message
from shared.domain.documents import DocumentRef, FieldPath, Update, Version


def body(*parts: Any, **candidate: Any) -> str:
    content = {"role": "model", "parts": list(parts)}
    return json.dumps({"candidates": [{"content": content, **candidate}]})


def test_text_parts_are_joined_and_nothing_is_stripped() -> None:
    answer = parse_answer(body({"text": " {"}, {"text": '"a": 1}\n'}, finishReason="STOP"))

    assert answer.text == ' {"a": 1}\n'
    assert answer.finish_reason == "STOP"


def test_thoughts_are_no_part_of_the_answer() -> None:
    answer = parse_answer(body({"text": "hm", "thought": True}, {"text": "{}"}))

    assert answer.text == "{}"


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"candidates": []}',
        '{"candidates": [{"finishReason": "STOP"}]}',
        '{"candidates": [{"content": {"role": "model"}}]}',
        '{"candidates": [{"content": {"parts": [{"thoughtSignature": "x"}]}}]}',
    ],
)
def test_an_answer_without_text_parts_has_no_text(text: str) -> None:
    assert parse_answer(text).text is None


def test_an_empty_text_part_is_an_empty_text() -> None:
    assert parse_answer(body({"text": ""})).text == ""


def test_a_blocked_prompt_has_its_reason_and_its_usage() -> None:
    answer = parse_answer(
        json.dumps(
            {
                "promptFeedback": {"blockReason": "PROHIBITED_CONTENT"},
                "usageMetadata": {"promptTokenCount": 7},
            }
        )
    )

    assert answer.block_reason == "PROHIBITED_CONTENT"
    assert answer.usage == {"promptTokenCount": 7}


def test_a_finish_reason_of_next_year_is_passed_on_without_a_warning() -> None:
    assert parse_answer(body(finishReason="BORED")).finish_reason == "BORED"


@pytest.mark.parametrize("reason", ["what the model said", "", "x" * 65, 7, ["STOP"]])
def test_a_finish_reason_that_is_no_name_is_not_quoted(reason: Any) -> None:
    assert parse_answer(body(finishReason=reason)).finish_reason == "UNREADABLE"


def test_usage_is_kept_as_the_provider_sent_it() -> None:
    usage = {
        "promptTokenCount": 5,
        "promptTokensDetails": [{"modality": "IMAGE", "tokenCount": 258}],
        "trafficType": "ON_DEMAND",
        "countOfNextYear": 1.5,
    }

    assert parse_answer(json.dumps({"usageMetadata": usage})).usage == usage


def test_usage_that_no_document_can_hold_is_cut() -> None:
    deep: Any = "x"
    for _ in range(30):
        deep = {"a": deep}
    usage = {"n": 10**30, "deep": deep, "long": "x" * 10_000}

    kept = parse_answer(json.dumps({"usageMetadata": usage})).usage

    assert kept == {"n": None, "deep": {"a": {"a": {"a": None}}}, "long": "x" * 128}


def test_usage_that_no_report_can_hold_is_cut() -> None:
    text = '{"usageMetadata": {"promptTokenCount": NaN, "a": 1e999, "b": -Infinity, "c": 1.5}}'

    kept = parse_answer(text).usage

    assert kept == {"promptTokenCount": None, "a": None, "b": None, "c": 1.5}


def test_of_usage_that_is_too_large_together_the_counts_remain() -> None:
    details = [{f"key{n}": "x" * 100 for n in range(60)} for _ in range(60)]
    usage = {"promptTokenCount": 5, "promptTokensDetails": details}

    kept = parse_answer(json.dumps({"usageMetadata": usage})).usage

    assert kept == {"promptTokenCount": 5, "promptTokensDetails": None}


def test_ratings_without_end_are_left_out() -> None:
    ratings = [{"category": "HARM_CATEGORY_HARASSMENT", "probability": "LOW"}] * 10_000

    assert parse_answer(body(safetyRatings=ratings[:3])).safety == ratings[:3]
    assert len(json.dumps(parse_answer(body(safetyRatings=ratings)).safety)) <= 8_192


@pytest.mark.parametrize(
    "envelope",
    [
        {"modelVersion": "\ud800"},
        {"responseId": "\ud800"},
        {"usageMetadata": {"\ud800": 1}},
        {"usageMetadata": {"a": ["\ud800"]}},
        {"usageMetadata": {"__name__": 1, "": 2, "promptTokenCount": 3}},
        {"candidates": [{"safetyRatings": [{"category": "\ud800"}]}]},
    ],
    ids=json.dumps,
)
def test_what_no_document_can_hold_does_not_keep_the_step_from_ending(envelope: Any) -> None:
    answer = parse_answer(json.dumps(envelope))

    fields: dict[FieldPath, Any] = {
        ("modelVersion",): answer.model_version,
        ("responseId",): answer.response_id,
        ("usage",): answer.usage,
        ("safety",): list(answer.safety),
    }
    write = Update(ref=DocumentRef("c", "d"), changes=fields, guard=Version(1))
    usage = write_message(write, "name").update.fields["usage"].map_value.fields
    assert {"", "__name__"}.isdisjoint(usage)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>",
        "[]",
        "null",
        '{"candidates": {}}',
        '{"candidates": [1]}',
        '{"candidates": [{"content": []}]}',
        '{"candidates": [{"content": {"parts": [{"text": 1}]}}]}',
        "[" * 200_000,
    ],
    ids=lambda text: text[:40] or "empty",
)
def test_what_is_not_an_answer_is_told_apart(text: str) -> None:
    with pytest.raises(EnvelopeBroken):
        parse_answer(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["candidates", "content", "parts", "text", "usageMetadata", "promptFeedback"]
            ),
            inner,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_any_json_is_an_answer_or_a_broken_envelope(value: Any) -> None:
    try:
        answer = parse_answer(json.dumps(value))
    except EnvelopeBroken:
        return

    assert answer.text is None or isinstance(answer.text, str)
