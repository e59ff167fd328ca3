"""Asking once more for an answer that breaks its schema: pure."""

from dataclasses import replace

from executor.ports import Correction, ModelRequest
from executor.structured_output import Kind
from shared.domain.errors import InvalidStructuredOutput

#: What a second call can mend; a blocked or broken-off answer would only be so again.
REPAIRABLE = frozenset({Kind.MISSING_TEXT, Kind.JSON_PARSE, Kind.SCHEMA_VALIDATION})
#: A longer answer was running away: repeating it would cost more than it tells.
MAX_SHOWN_BYTES = 65_536

_REPAIR = (
    "The answer above cannot be used: {reason}. Write the full report again, as one JSON object"
    " that satisfies the response schema, complete and shorter than before if it was cut off."
    " Answer with the JSON alone."
)


def repairable(problem: InvalidStructuredOutput) -> bool:
    """Whether a repair call can help."""
    return problem.details.get("kind") in REPAIRABLE


def repair_request(
    request: ModelRequest, former_text: str | None, problem: InvalidStructuredOutput
) -> ModelRequest:
    """The request with the former answer shown, and a prompt of our own for its repair."""
    instruction = _REPAIR.format(reason=_reason(problem))
    correction = Correction(former_text=_shown(former_text), instruction=instruction)
    return replace(request, correction=correction)


def _shown(former_text: str | None) -> str | None:
    """The text, if it is not too long; a lone surrogate in it could not be sent."""
    if former_text is None:
        return None
    sendable = former_text.encode("utf-8", "replace")
    return sendable.decode() if len(sendable) <= MAX_SHOWN_BYTES else None


def _reason(problem: InvalidStructuredOutput) -> str:
    errors = problem.details.get("errors")
    found = [
        f"at {error['path'] or 'the top'}: {error['error']}"
        for error in (errors if isinstance(errors, list) else [])
    ]
    return "; ".join([problem.message, *found])
