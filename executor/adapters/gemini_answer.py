"""From the body of a generateContent answer to a ModelAnswer: pure.

Read here and not by the client library: that one turns enumerations it does not know into
warnings, and usage into types of its own, where the step wants it as the provider sent it.
https://ai.google.dev/api/generate-content#generatecontentresponse
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from executor.ports import ModelAnswer

_MAX_WORD_CHARS = 128
_ENUM = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_MAX_DEPTH = 4
_MAX_ITEMS = 64
#: Firestore's integers have 64 bits.
_MAX_INTEGER = 2**63 - 1


class EnvelopeBroken(ValueError):
    """The body is not an answer of this API."""


def parse_answer(body: str) -> ModelAnswer:
    """The answer in the body of a response with status 200.

    Raises:
        EnvelopeBroken: it is not JSON, or does not have the API's form.
    """
    try:
        envelope = json.loads(body)
    except (ValueError, RecursionError):
        raise EnvelopeBroken("not JSON") from None
    if not isinstance(envelope, dict):
        raise EnvelopeBroken("not an object")
    candidate = _object(next(iter(_list(envelope, "candidates")), {}))
    return ModelAnswer(
        text=_text(_object(candidate.get("content"))),
        finish_reason=_enum(candidate.get("finishReason")),
        block_reason=_enum(_object(envelope.get("promptFeedback")).get("blockReason")),
        model_version=_word(envelope.get("modelVersion")),
        response_id=_word(envelope.get("responseId")),
        usage=_plain(_object(envelope.get("usageMetadata"))) or None,
        safety=[_plain(_object(rating)) for rating in _list(candidate, "safetyRatings")],
    )


def _text(content: Mapping[str, Any]) -> str | None:
    """The text parts joined and otherwise untouched; thoughts are no part of the answer."""
    parts = [_object(part) for part in _list(content, "parts")]
    texts = [part["text"] for part in parts if "text" in part and not part.get("thought")]
    if not all(isinstance(text, str) for text in texts):
        raise EnvelopeBroken("a part's text is not text")
    return "".join(texts) if texts else None


def _object(value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise EnvelopeBroken("an object is missing")
    return value


def _list(value: Mapping[str, Any], name: str) -> Sequence[Any]:
    items = value.get(name)
    if items is None:
        return []
    if not isinstance(items, list):
        raise EnvelopeBroken(f"{name} is not a list")
    return items


def _enum(value: Any) -> str | None:
    """The name of an enumeration's member, known or not: it is written into messages."""
    if value is None:
        return None
    return value if isinstance(value, str) and _ENUM.fullmatch(value) else "UNREADABLE"


def _word(value: Any) -> str | None:
    return None if value is None else str(value)[:_MAX_WORD_CHARS]


def _plain(value: Any, depth: int = 0) -> Any:
    """The value as it is, if a document can hold it: no depth, length or number too large."""
    match value:
        case dict() if depth < _MAX_DEPTH:
            pairs = list(value.items())[:_MAX_ITEMS]
            return {key[:_MAX_WORD_CHARS]: _plain(item, depth + 1) for key, item in pairs}
        case list() if depth < _MAX_DEPTH:
            return [_plain(item, depth + 1) for item in value[:_MAX_ITEMS]]
        case str():
            return _word(value)
        case bool() | float() | None:
            return value
        case int() if abs(value) <= _MAX_INTEGER:
            return value
        case _:
            return None
