"""Reading what the provider's JSON holds, whatever it holds: pure."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

_MAX_WORD_CHARS = 128
_MAX_DEPTH = 4
_MAX_ITEMS = 64
#: Firestore's integers have 64 bits.
_MAX_INTEGER = 2**63 - 1


class EnvelopeBroken(ValueError):
    """The body is not an answer of this API."""


def json_object(body: str) -> Mapping[str, Any]:
    """The JSON object in a body.

    Raises:
        EnvelopeBroken: it is something else.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise EnvelopeBroken("not JSON") from None
    if not isinstance(value, dict):
        raise EnvelopeBroken("not an object")
    return value


def object_or_empty(value: Any) -> Mapping[str, Any]:
    """The object; an empty one where there is none.

    Raises:
        EnvelopeBroken: something else stands there.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise EnvelopeBroken("an object is missing")
    return value


def list_in(value: Mapping[str, Any], name: str) -> Sequence[Any]:
    """The list of this name; an empty one where there is none.

    Raises:
        EnvelopeBroken: something else stands there.
    """
    items = value.get(name)
    if items is None:
        return []
    if not isinstance(items, list):
        raise EnvelopeBroken(f"{name} is not a list")
    return items


def short_word(value: Any) -> str | None:
    """The value as a word that a document can hold."""
    return None if value is None else str(value)[:_MAX_WORD_CHARS]


def plain(value: Any, depth: int = 0) -> Any:
    """The value as it is, if a document can hold it: no depth, length or number too large."""
    match value:
        case dict() if depth < _MAX_DEPTH:
            pairs = list(value.items())[:_MAX_ITEMS]
            return {key[:_MAX_WORD_CHARS]: plain(item, depth + 1) for key, item in pairs}
        case list() if depth < _MAX_DEPTH:
            return [plain(item, depth + 1) for item in value[:_MAX_ITEMS]]
        case str():
            return short_word(value)
        case bool() | float() | None:
            return value
        case int() if abs(value) <= _MAX_INTEGER:
            return value
        case _:
            return None
