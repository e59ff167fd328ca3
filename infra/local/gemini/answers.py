"""Values that satisfy a JSON Schema, chosen by a seed: pure."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from infra.local.gemini.reports import Market

_WORDS = ("trend", "support", "resistance", "momentum", "volume", "breakout", "range")
_MAX_DEPTH = 16
#: So small that all scenarios of a list together stay at or below 1.
_MOST_PROBABLE = 1 / 3


def answer_for(
    schema: Mapping[str, Any], *, seed: int, markdown: str, market: Market | None = None
) -> Any:
    """A value for the schema; a string property named `markdown` gets the given text.

    Where the market is known, numbers without bounds are prices in its range, and a
    `direction` is the one in which it moved.
    """
    answers = _Answers(schema, random.Random(seed), markdown, market)  # noqa: S311
    return answers.value(schema, "", 0)


class _Answers:
    def __init__(
        self,
        root: Mapping[str, Any],
        chance: random.Random,
        markdown: str,
        market: Market | None,
    ) -> None:
        self._root = root
        self._chance = chance
        self._markdown = markdown
        self._market = market

    def value(self, schema: Any, name: str, depth: int) -> Any:
        if not isinstance(schema, Mapping) or depth > _MAX_DEPTH:
            return None
        schema = self._resolved(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._choice(schema["enum"], name)
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
                return round(self._number(schema, name))
            case "number":
                return round(self._number(schema, name), 4)
            case "boolean":
                return self._chance.random() < 0.5  # noqa: PLR2004
            case _:
                return None

    def _choice(self, values: Sequence[Any], name: str) -> Any:
        chosen = self._chance.choice(values)
        if name != "direction" or self._market is None:
            return chosen
        moved = "UP" if self._market.rises else "DOWN"
        return next((each for each in values if str(each).startswith(moved)), chosen)

    def _number(self, schema: Mapping[str, Any], name: str) -> float:
        if self._market and not {"minimum", "maximum"} & schema.keys():
            return self._chance.uniform(self._market.low, self._market.high)
        low = float(schema.get("minimum", 0))
        high = float(schema.get("maximum", low + 100))
        return self._chance.uniform(low, _MOST_PROBABLE if name == "probability" else high)

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
