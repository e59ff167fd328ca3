"""JSON as RFC 8259 means it: no NaN, no duplicate keys, no surprise."""

import json
import math
from collections.abc import Iterable
from typing import Any, NoReturn

#: Far above any report, far below where Python's own recursion ends.
MAX_DEPTH = 64


class NotJson(ValueError):
    """The text is not strict JSON; says where or why, never what."""


def parse_strict_json(text: str | bytes) -> Any:
    """The value in the text; what is returned can be written again, as UTF-8, without loss.

    Raises:
        NotJson: not UTF-8, not JSON, NaN or infinity or a number beyond double precision's
            range, a key given twice, a lone surrogate, or nested deeper than `MAX_DEPTH`.
    """
    try:
        value = json.loads(
            text.decode() if isinstance(text, bytes) else text,
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_readable,
        )
    except json.JSONDecodeError as error:
        raise NotJson(f"not JSON at character {error.pos}") from None
    except NotJson:
        raise
    except UnicodeDecodeError:
        raise NotJson("not UTF-8") from None
    except RecursionError:
        raise NotJson(_TOO_DEEP) from None
    _check(value)
    return value


_TOO_LARGE = "a number is beyond double precision's range"
_MAX_DIGITS = 308
_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"


def _check(value: Any) -> None:
    """Level by level, as recursion is what a hostile text would exhaust."""
    level, depth = [value], 0
    while level:
        below: list[Any] = []
        for item in level:
            if isinstance(item, str):
                _check_text(item)
            elif isinstance(item, dict):
                below += [*item, *item.values()]
            elif isinstance(item, list):
                below += item
        level, depth = below, depth + 1
        if depth >= MAX_DEPTH and any(isinstance(item, dict | list) for item in level):
            raise NotJson(_TOO_DEEP)


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotJson("a lone surrogate is no character") from None


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in pairs:
        if key in members:
            raise NotJson("a key is given twice")
        members[key] = value
    return members


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise NotJson(_TOO_LARGE)
    return number


def _readable(digits: str) -> int:
    # Most JSON readers take a number as a double, and must not get infinity here.
    if len(digits) > _MAX_DIGITS:
        raise NotJson(_TOO_LARGE)
    return int(digits)


def _no_constant(name: str) -> NoReturn:
    raise NotJson(f"{name} is not JSON")
