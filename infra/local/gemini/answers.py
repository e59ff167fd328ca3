"""Values that satisfy a JSON Schema, chosen by a seed: pure."""

import random
from collections.abc import Mapping
from typing import Any

_WORDS = ("trend", "support", "resistance", "momentum", "volume", "breakout", "range")
_MAX_DEPTH = 16


def answer_for(schema: Mapping[str, Any], *, seed: int, markdown: str) -> Any:
    """A value for the schema; a string property named `markdown` gets the given text."""
    return _Answers(schema, random.Random(seed), markdown).value(schema, "", 0)  # noqa: S311


class _Answers:
    def __init__(self, root: Mapping[str, Any], chance: random.Random, markdown: str) -> None:
        self._root = root
        self._chance = chance
        self._markdown = markdown

    def value(self, schema: Any, name: str, depth: int) -> Any:
        if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
            return None
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._chance.choice(schema["enum"])
        for union in ("anyOf", "oneOf"):
            if union in schema:
                return self.value(schema[union][0], name, depth + 1)
        kind = schema.get("type", "object" if "properties" in schema else "string")
        kind = kind[0] if isinstance(kind, list) else kind
        return self._typed(kind, schema, name, depth)

    def _typed(self, kind: str, schema: Mapping[str, Any], name: str, depth: int) -> Any:
        if kind == "object":
            properties = schema.get("properties", {})
            return {key: self.value(properties[key], key, depth + 1) for key in properties}
        if kind == "array":
            count = max(schema.get("minItems", 0), min(2, schema.get("maxItems", 2)))
            items = schema.get("items", {"type": "string"})
            return [self.value(items, name, depth + 1) for _ in range(count)]
        return self._scalar(kind, schema, name)

    def _scalar(self, kind: str, schema: Mapping[str, Any], name: str) -> Any:
        match kind:
            case "string":
                return self._string(schema, name)
            case "integer":
                return round(self._number(schema))
            case "number":
                return round(self._number(schema), 4)
            case "boolean":
                return self._chance.random() < 0.5  # noqa: PLR2004
            case _:
                return None

    def _number(self, schema: Mapping[str, Any]) -> float:
        low = float(schema.get("minimum", 0))
        high = float(schema.get("maximum", low + 100))
        return self._chance.uniform(low, high)

    def _string(self, schema: Mapping[str, Any], name: str) -> str:
        if name == "markdown":
            return self._markdown
        formats = {"date": "2026-01-05", "date-time": "2026-01-05T09:00:00Z"}
        text = formats.get(schema.get("format", "")) or " ".join(
            self._chance.sample(_WORDS, k=3)
        )
        text = text.ljust(schema.get("minLength", 0), ".")
        return text[: schema.get("maxLength", len(text))]

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        for _ in range(_MAX_DEPTH):
            reference = schema.get("$ref")
            if not isinstance(reference, str):
                return schema
            target: Any = self._root
            for part in reference.removeprefix("#").strip("/").split("/"):
                target = target[part] if part else target
            schema = target
        return {}
