"""Reading what the provider's JSON holds, whatever it holds: pure."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from executor.adapters.error_answer import AnsweredWithError, error_object, read_error_object

_MAX_WORD_CHARS = 128
_MAX_DEPTH = 4
_MAX_ITEMS = 64
#: A document has room for a mebibyte, and one step's share of it is small.
_MAX_KEPT_CHARS = 8_192
#: https://firebase.google.com/docs/firestore/quotas: map keys that Firestore refuses.
_NO_KEY = re.compile(r"__.*__|", re.DOTALL)
#: Firestore's integers have 64 bits.
_MAX_INTEGER = 2**63 - 1


class EnvelopeBroken(ValueError):
    """The body is not an answer of this API."""


class AnswerTooLong(ValueError):
    """The body is longer than what is read of an answer."""


def json_value(body: str) -> Any:
    """The JSON value in a body, which may begin with a byte order mark.

    Raises:
        EnvelopeBroken: it is something else.
    """
    try:
        return json.loads(body.removeprefix("\ufeff"))
    except (ValueError, RecursionError):
        raise EnvelopeBroken("not JSON") from None


def answer_object(body: str) -> Mapping[str, Any]:
    """The JSON object in the body of a success.

    Raises:
        AnsweredWithError: it describes an error, as gateways answer.
        EnvelopeBroken: it is something else.
    """
    answer = json_value(body)
    error = error_object(answer)
    if error is not None:
        raise AnsweredWithError(read_error_object(error))
    if not isinstance(answer, dict):
        raise EnvelopeBroken("not an object")
    return answer


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
    """The value as a word that a document can hold: a lone surrogate is no character."""
    if value is None:
        return None
    return str(value)[:_MAX_WORD_CHARS].encode("utf-8", "replace").decode()


def kept(value: Any) -> Any:
    """The value as `plain` gives it; where that is too much, without its nested parts."""
    whole = plain(value)
    fits = len(json.dumps(whole)) <= _MAX_KEPT_CHARS
    return whole if fits else plain(value, _MAX_DEPTH - 1)


def plain(value: Any, depth: int = 0) -> Any:
    """The value as it is, if a document can hold it: no depth, length or number too large.

    Reports hold it too, and JSON has neither NaN nor infinity.
    """
    match value:
        case dict() if depth < _MAX_DEPTH:
            pairs = [(short_word(key) or "", item) for key, item in value.items()]
            named = [pair for pair in pairs if not _NO_KEY.fullmatch(pair[0])]
            return {key: plain(item, depth + 1) for key, item in named[:_MAX_ITEMS]}
        case list() if depth < _MAX_DEPTH:
            return [plain(item, depth + 1) for item in value[:_MAX_ITEMS]]
        case str():
            return short_word(value)
        case int() | float() if _fits(value):
            return value
        case _:
            return None


def _fits(number: float) -> bool:
    if isinstance(number, int):
        return abs(number) <= _MAX_INTEGER
    return math.isfinite(number)
