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
    shown = former_text
    if shown is not None and len(shown.encode("utf-8", "replace")) > MAX_SHOWN_BYTES:
        shown = None
    instruction = _REPAIR.format(reason=_reason(problem))
    return replace(request, correction=Correction(former_text=shown, instruction=instruction))


def _reason(problem: InvalidStructuredOutput) -> str:
    errors = problem.details.get("errors")
    found = [
        f"at {error['path'] or 'the top'}: {error['error']}"
        for error in (errors if isinstance(errors, list) else [])
    ]
    return "; ".join([problem.message, *found])
