"""From the model's answer to the report's `output`, or to a diagnosis without its text."""

import re
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any

from jsonschema.exceptions import ValidationError

from executor.contract.canonical import sha256_hex
from executor.ports import SAFETY_REASONS, ModelAnswer
from executor.validation.bounded import Undecided, first_errors
from executor.validation.strict_json import NotJson, parse_strict_json
from shared.domain.errors import InvalidStructuredOutput, LlmSafetyBlock

MAX_DIAGNOSTICS = 10
_MAX_PATH_CHARS = 128
#: Ten times the longest answer that the API's largest output limit, 65,536 tokens, can make
#: (https://ai.google.dev/gemini-api/docs/models); what Python makes of it fits in memory.
MAX_TEXT_CHARS = 4_194_304
#: Four for each token of that limit, those within strings counted as well. While lists are
#: made, Python looks through all there are, again and again, and nothing else runs meanwhile:
#: a million of them would hold up the renewal of leases for seconds.
MAX_BRACKETS = 131_072
#: Reasons that can come with a whole answer. None comes with no candidate at all, or from a
#: provider that does not say: the answer itself decides.
COMPLETE_REASONS = frozenset({"STOP", "MAX_TOKENS", "FINISH_REASON_UNSPECIFIED", None})
#: One Markdown fence around the whole text, and nothing else.
_FENCED = re.compile(r"\s*```(?:json)?\s*(\{.*\})\s*```\s*", re.DOTALL | re.IGNORECASE)
#: What a report may hold, whatever else a registry's schema allows.
_ENVELOPE: Mapping[str, Any] = {
    "type": "object",
    "required": ["summary", "details"],
    "additionalProperties": False,
    "properties": {
        "summary": {
            "type": "object",
            "required": ["markdown"],
            "additionalProperties": False,
            "properties": {"markdown": {"type": "string"}, "html": {"type": "string"}},
        },
        "details": {"type": "object"},
    },
}


class Kind(StrEnum):
    """What is wrong with an answer."""

    FINISH_REASON = "finish_reason"
    MISSING_TEXT = "missing_text"
    JSON_PARSE = "json_parse"
    SCHEMA_VALIDATION = "schema_validation"


def unfenced(answer: ModelAnswer) -> ModelAnswer:
    """The answer without the one Markdown fence around all of its text, if it has one.

    No JSON text begins with a fence, so that nothing of a report is ever taken for one.
    """
    inside = _FENCED.fullmatch(answer.text) if answer.text else None
    return replace(answer, text=inside[1], fence_removed=True) if inside else answer


def read_output(answer: ModelAnswer, json_schema: Mapping[str, Any]) -> dict[str, Any]:
    """The report's `output`.

    Raises:
        LlmSafetyBlock: the provider blocked the prompt or the answer.
        InvalidStructuredOutput: with sanitized diagnostics in its details.
    """
    if answer.block_reason is not None:
        raise LlmSafetyBlock(f"the prompt was blocked: {answer.block_reason}")
    if answer.finish_reason in SAFETY_REASONS:
        raise LlmSafetyBlock(f"the answer was blocked: {answer.finish_reason}")
    if answer.finish_reason not in COMPLETE_REASONS:
        raise _invalid(Kind.FINISH_REASON, answer)
    if not answer.text:
        raise _invalid(Kind.MISSING_TEXT, answer)
    too_much = _too_much(answer.text)
    if too_much is not None:
        raise _invalid(Kind.JSON_PARSE, answer, [{"path": "", "error": too_much}])
    try:
        value = parse_strict_json(answer.text)
    except NotJson as problem:
        raise _invalid(Kind.JSON_PARSE, answer, [{"path": "", "error": str(problem)}]) from None
    errors = _schema_errors(value, json_schema)
    if errors:
        raise _invalid(Kind.SCHEMA_VALIDATION, answer, errors)
    return dict(value)


def _too_much(text: str) -> str | None:
    if len(text) > MAX_TEXT_CHARS:
        return f"more than {MAX_TEXT_CHARS} characters"
    if text.count("[") + text.count("{") > MAX_BRACKETS:
        return f"more than {MAX_BRACKETS} lists and objects"
    return None


def _schema_errors(value: object, json_schema: Mapping[str, Any]) -> list[dict[str, str]]:
    try:
        errors = first_errors(value, json_schema, limit=MAX_DIAGNOSTICS) or first_errors(
            value, _ENVELOPE, limit=MAX_DIAGNOSTICS
        )
    except Undecided as problem:
        return [{"path": "", "error": str(problem)}]
    return [{"path": _path(error), "error": str(error.validator)} for error in errors]


def _path(error: ValidationError) -> str:
    # Keys below `details` are the model's words: positions stand in for them.
    known = [
        str(part) if index < len(_KNOWN) and part in _KNOWN[index] else _position(part)
        for index, part in enumerate(error.absolute_path)
    ]
    return "/".join(known)[:_MAX_PATH_CHARS]


_KNOWN: tuple[frozenset[str | int], ...] = (
    frozenset({"summary", "details"}),
    frozenset({"markdown", "html"}),
)


def _position(part: str | int) -> str:
    return str(part) if isinstance(part, int) else "*"


def _invalid(
    kind: Kind, answer: ModelAnswer, errors: list[dict[str, str]] | None = None
) -> InvalidStructuredOutput:
    text = (answer.text or "").encode("utf-8", "surrogatepass")
    details: dict[str, object] = {
        "kind": str(kind),
        "finishReason": answer.finish_reason,
        "textBytes": len(text),
        "textSha256": sha256_hex(text),
    }
    return InvalidStructuredOutput(
        f"kind={kind} finishReason={answer.finish_reason}",
        details=details,
        kind=kind,
        errors=errors or (),
    )
