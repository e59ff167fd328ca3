"""The job message: a wake-up call with ids, small enough to send twice without a thought."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.domain.identifiers import (
    ClaimId,
    PromptId,
    RunId,
    SchemaId,
    StepId,
    is_model_name,
    is_prompt_id,
    is_run_id,
    is_schema_id,
    is_step_id,
)

SCHEMA_VERSION = 1
#: The attribute in which the executor says why it could not read a message.
DEAD_LETTER_REASON = "workerReason"
#: The attribute in which a replayed message says which dead letter it was.
REPLAY_OF = "replayOf"
#: The attribute in which a hook's body named the call that has ended: a hint.
ENDED_CALL = "endedCall"
#: Far above what the ids can take; a larger message was not written by the dispatcher.
MAX_MESSAGE_BYTES = 8_192
_MAX_ATTRIBUTES = 100
_MAX_ATTRIBUTE_NAME_BYTES = 256
_MAX_ATTRIBUTE_BYTES = 1_024


class MessageUnreadable(ValueError):
    """The message is not a job message; its text says what is wrong, never what was in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingMessage:
    """What a queue stores."""

    data: bytes
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobMessage:
    """Says that a job waits; `claim_id` tells whether it still does when the message comes."""

    run_id: RunId
    step_id: StepId
    claim_id: ClaimId
    #: What the step asked for when it was claimed, so that the executor can read prompt and
    #: schema together with run and job. Hints: the step itself decides.
    prompt_id: PromptId | None = None
    schema_id: SchemaId | None = None
    #: The model, so that what is known of its pace is read with them.
    model_name: str | None = None

    def encode(self, attributes: Mapping[str, str] | None = None) -> OutgoingMessage:
        """The message as the queue stores it; ids are also attributes, for filters and eyes."""
        body = {
            "schemaVersion": SCHEMA_VERSION,
            "runId": self.run_id,
            "stepId": self.step_id,
            "claimId": self.claim_id,
            "promptId": self.prompt_id,
            "schemaId": self.schema_id,
            "modelName": self.model_name,
        }
        present = {name: value for name, value in body.items() if value is not None}
        data = json.dumps(present, ensure_ascii=False, separators=(",", ":")).encode()
        ids = {"runId": self.run_id, "stepId": self.step_id, "claimId": self.claim_id}
        return OutgoingMessage(data=data, attributes={**(attributes or {}), **ids})


def decode_job_message(data: bytes) -> JobMessage:
    """The job message in these bytes; unknown fields are ignored.

    Raises:
        MessageUnreadable: not JSON, not an object, another version, or a bad id.
    """
    if len(data) > MAX_MESSAGE_BYTES:
        raise MessageUnreadable(f"{len(data)} bytes, at most {MAX_MESSAGE_BYTES} are read")
    body = _json_object(data)
    if body.get("schemaVersion") != SCHEMA_VERSION:
        raise MessageUnreadable(f"schemaVersion must be {SCHEMA_VERSION}")
    run, step, claim = body.get("runId"), body.get("stepId"), body.get("claimId")
    if not is_run_id(run):
        raise MessageUnreadable("runId is missing or malformed")
    if not is_step_id(step):
        raise MessageUnreadable("stepId is missing or malformed")
    if not isinstance(claim, str) or not claim:
        raise MessageUnreadable("claimId is missing or malformed")
    prompt, schema = body.get("promptId"), body.get("schemaId")
    model = body.get("modelName")
    return JobMessage(
        run_id=run,
        step_id=step,
        claim_id=ClaimId(claim),
        prompt_id=prompt if is_prompt_id(prompt) else None,
        schema_id=schema if is_schema_id(schema) else None,
        model_name=model if is_model_name(model) else None,
    )


def storable_attributes(attributes: Mapping[str, str]) -> dict[str, str]:
    """Those of the attributes that a queue takes, with room left for one of our own.

    https://cloud.google.com/pubsub/quotas#resource_limits
    """
    fitting = {
        name: value
        for name, value in attributes.items()
        if _fits(name, _MAX_ATTRIBUTE_NAME_BYTES) and _fits(value, _MAX_ATTRIBUTE_BYTES)
    }
    names = [name for name in fitting if name and not name.startswith("goog")]
    return {name: fitting[name] for name in names[: _MAX_ATTRIBUTES - 1]}


def _fits(text: str, most_bytes: int) -> bool:
    try:
        return len(text.encode()) <= most_bytes
    except UnicodeEncodeError:
        return False


def _json_object(data: bytes) -> dict[str, Any]:
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        raise MessageUnreadable("the data is not JSON") from None
    if not isinstance(body, dict):
        raise MessageUnreadable("the data is not a JSON object")
    return body
