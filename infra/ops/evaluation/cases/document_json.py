"""Documents as JSON and back, with the values that JSON does not have."""

import base64
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

_TIME, _BYTES, _MAP = "$time", "$bytes", "$map"
_MARKS = frozenset({_TIME, _BYTES, _MAP})


def to_json(document: Mapping[str, Any]) -> str:
    """The document on one line.

    Raises:
        ValueError: it holds a value that cannot be written, such as a document reference.
    """
    try:
        return json.dumps(_marked(document), ensure_ascii=False, separators=(",", ":"))
    except TypeError as problem:
        raise ValueError(str(problem)) from None


def from_json(text: str | bytes) -> Any:
    """What `to_json` wrote.

    Raises:
        ValueError: the text is no JSON.
    """
    return json.loads(text, object_hook=_unmarked)


def _marked(value: Any) -> Any:
    match value:
        case datetime():
            return {_TIME: value.isoformat()}
        case bytes():
            return {_BYTES: base64.b64encode(value).decode("ascii")}
        case Mapping():
            plain = {str(key): _marked(item) for key, item in value.items()}
            # A map that looks like a mark is wrapped, so that it comes back as it was.
            return {_MAP: list(plain.items())} if _MARKS & plain.keys() else plain
        case list() | tuple():
            return [_marked(item) for item in value]
        case _:
            return value


def _unmarked(pairs: dict[str, Any]) -> Any:
    if len(pairs) != 1:
        return pairs
    [(mark, value)] = pairs.items()
    if mark == _TIME:
        return datetime.fromisoformat(value)
    if mark == _BYTES:
        return base64.b64decode(value)
    return dict(value) if mark == _MAP else pairs
