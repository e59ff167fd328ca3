"""What a billing export shows of each model call: pure."""

import hashlib
import re
from collections.abc import Mapping

from shared.domain.identifiers import ClaimId, RunId, StepId

RUN, STEP, CLAIM, CALL = "run", "step", "claim", "call"
#: https://cloud.google.com/resource-manager/docs/labels-overview#requirements
MAX_VALUE_CHARS = 63
_NOT_ALLOWED = re.compile(r"[^a-z0-9_-]")
_SHORT_HASH_CHARS = 8


def call_labels(
    run_id: RunId, step_id: StepId, claim_id: ClaimId, call: int
) -> Mapping[str, str]:
    """The labels of a claim's call; `call` is its number under the claim, from 1."""
    return {
        RUN: label_value(run_id),
        STEP: label_value(step_id),
        CLAIM: label_value(claim_id),
        CALL: str(call),
    }


def label_value(text: str) -> str:
    """The text as a label's value: the same for the same text, and another for any other.

    A value may have 63 lower-case letters, digits, dashes and underscores. A text that is none
    is made one, and ends in a hash of what it was.
    """
    allowed = _NOT_ALLOWED.sub("-", text.lower())
    if allowed == text and len(text) <= MAX_VALUE_CHARS:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    room = MAX_VALUE_CHARS - _SHORT_HASH_CHARS - 1
    return f"{allowed[:room]}-{digest[:_SHORT_HASH_CHARS]}"
