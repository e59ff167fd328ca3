"""The job message."""

import json
from typing import Any

import pytest

from shared.domain.identifiers import ClaimId, PromptId, RunId, SchemaId, StepId
from shared.domain.messages import (
    MAX_MESSAGE_BYTES,
    JobMessage,
    MessageUnreadable,
    decode_job_message,
)

BODY: dict[str, Any] = {
    "schemaVersion": 1,
    "runId": "20260105-090000_BTCUSDT_abc",
    "stepId": "1d:report-é",
    "claimId": "c1",
    "promptId": "llm_prompt_1d_report_v1_0",
    "schemaId": "llm_schema_1d_report_v1_0",
}
MESSAGE = JobMessage(
    run_id=RunId(BODY["runId"]),
    step_id=StepId(BODY["stepId"]),
    claim_id=ClaimId("c1"),
    prompt_id=PromptId(BODY["promptId"]),
    schema_id=SchemaId(BODY["schemaId"]),
)


def encoded(**changes: Any) -> bytes:
    return json.dumps({**BODY, **changes}).encode()


def test_the_wire_form_is_the_contracts() -> None:
    sent = MESSAGE.encode({"traceparent": "t"})

    assert json.loads(sent.data) == BODY
    assert sent.attributes == {
        "runId": BODY["runId"],
        "stepId": BODY["stepId"],
        "claimId": "c1",
        "traceparent": "t",
    }
    assert decode_job_message(sent.data) == MESSAGE


def test_no_attribute_of_a_caller_hides_an_id() -> None:
    assert MESSAGE.encode({"runId": "other"}).attributes["runId"] == MESSAGE.run_id


def test_unknown_fields_are_ignored() -> None:
    assert decode_job_message(encoded(later={"x": [1]})) == MESSAGE


@pytest.mark.parametrize("hint", ["promptId", "schemaId"])
@pytest.mark.parametrize("value", [None, 7, "nonsense", []])
def test_a_hint_that_is_no_id_is_only_a_missing_hint(hint: str, value: Any) -> None:
    message = decode_job_message(encoded(**{hint: value}))

    assert None in {message.prompt_id, message.schema_id}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"{", "not JSON"),
        (b"[" * 100_000, "at most"),
        (b"[" * 5_000, "not JSON"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b'"x"', "not a JSON object"),
        (b"{}", "schemaVersion must be 1"),
        (encoded(schemaVersion=2), "schemaVersion must be 1"),
        (encoded(schemaVersion="1"), "schemaVersion must be 1"),
        (encoded(runId=None), "runId is missing or malformed"),
        (encoded(runId="../x"), "runId is missing or malformed"),
        (encoded(stepId="a/b"), "stepId is missing or malformed"),
        (encoded(stepId=7), "stepId is missing or malformed"),
        (encoded(claimId=""), "claimId is missing or malformed"),
        (encoded(claimId=7), "claimId is missing or malformed"),
        (encoded(x="y" * MAX_MESSAGE_BYTES), f"at most {MAX_MESSAGE_BYTES}"),
    ],
)
def test_what_is_no_job_message_is_refused_without_quoting_it(data: bytes, reason: str) -> None:
    with pytest.raises(MessageUnreadable, match=reason) as found:
        decode_job_message(data)

    assert "../x" not in str(found.value)
