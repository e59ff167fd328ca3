"""JSON as RFC 8259 means it: no NaN, no duplicate keys, no surprise."""

import json
from typing import Any, NoReturn


class NotJson(ValueError):
    """The text is not strict JSON; says where or why, never what."""


def parse_strict_json(text: str | bytes) -> Any:
    """The value in the text.

    Raises:
        NotJson: not UTF-8, not JSON, NaN or infinity, a key given twice, or nested too deep.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise NotJson(f"not JSON at character {error.pos}") from None
    except NotJson:
        raise
    except UnicodeDecodeError:
        raise NotJson("not UTF-8") from None
    except (RecursionError, ValueError):
        raise NotJson("nested too deep, or a number too long") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise NotJson("a key is given twice")
    return members


def _no_constant(name: str) -> NoReturn:
    raise NotJson(f"{name} is not JSON")
