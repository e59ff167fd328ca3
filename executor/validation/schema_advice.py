"""What the author of a schema should know before money is spent on it: pure."""

from collections.abc import Iterator, Mapping
from typing import Any

_SHORTEST_REPORT = 200


def schema_advice(schema: Mapping[str, Any]) -> Iterator[str]:
    """One line for each place that an empty report satisfies, with what mends it."""
    if _is_satisfied_by_nothing(_at(schema, "details")):
        yield (
            "details at /properties/details: an empty object satisfies it, and a model may"
            ' write one: list what must be there, such as "required": ["levels", "scenarios"]'
        )
    markdown = _at(_at(schema, "summary"), "markdown")
    if not isinstance(markdown.get("minLength"), int) and not {"enum", "const"} & {*markdown}:
        yield (
            "markdown at /properties/summary/properties/markdown: an empty text satisfies it,"
            f' and a model may write one: add "minLength": {_SHORTEST_REPORT}'
        )


def _at(schema: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    properties = schema.get("properties")
    found = properties.get(name) if isinstance(properties, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _is_satisfied_by_nothing(schema: Mapping[str, Any]) -> bool:
    """Whether `{}` satisfies an object's schema, as far as its own keywords say."""
    combined = {"$ref", "allOf", "anyOf", "oneOf", "enum", "const"} & {*schema}
    return not (combined or schema.get("required") or schema.get("minProperties"))
