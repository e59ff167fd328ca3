"""Reading documents as they are: an operator must see also what the worker refuses."""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from shared.domain.numbers import with_whole_numbers
from shared.domain.times import parse_time

_NOTHING: Mapping[str, Any] = {}


def at(value: object, *path: str) -> Any:
    """What stands at the path; None where a level is missing or no map."""
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def map_at(value: object, *path: str) -> Mapping[str, Any]:
    """The map at the path; an empty one where there is none."""
    found = at(value, *path)
    return found if isinstance(found, Mapping) else _NOTHING


def maps_at(value: object, *path: str) -> Iterator[Mapping[str, Any]]:
    """The maps in the list at the path."""
    found = at(value, *path)
    for item in found if isinstance(found, Sequence) and not isinstance(found, str) else ():
        if isinstance(item, Mapping):
            yield item


def text_at(value: object, *path: str) -> str | None:
    """The string at the path."""
    found = at(value, *path)
    return found if isinstance(found, str) else None


def integer_at(value: object, *path: str) -> int | None:
    """The whole number at the path."""
    found = with_whole_numbers(at(value, *path))
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def number_at(value: object, *path: str) -> float | None:
    """The finite number at the path."""
    found = at(value, *path)
    if not isinstance(found, int | float) or isinstance(found, bool):
        return None
    return float(found) if math.isfinite(found) else None


def time_at(value: object, *path: str) -> datetime | None:
    """The moment at the path, stored as a time or as RFC 3339 text."""
    return parse_time(at(value, *path))
