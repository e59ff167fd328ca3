"""Whole numbers as other languages store them: Java, Swift and Go may write a double."""

from collections.abc import Mapping
from typing import Any

#: Beyond this a double does not tell one whole number from the next.
_EXACT = 2.0**53


def with_whole_numbers(value: Any) -> Any:
    """The value with every whole double, at any depth, as the integer that it is."""
    match value:
        case Mapping():
            return {name: with_whole_numbers(item) for name, item in value.items()}
        case list():
            return [with_whole_numbers(item) for item in value]
        case float() if value.is_integer() and abs(value) <= _EXACT:
            return int(value)
        case _:
            return value
