"""Planted effects: how much worse the stand-in answers for one prompt than for another.

An evaluation of prompts is tested with them: what was planted must be found, and nothing else.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from infra.local.gemini.judging import asks_for_judgement
from infra.local.gemini.reports import market_of
from infra.local.gemini.requests import GenerateRequest

#: Far above every candle, and still a price.
_OUTSIDE_FACTOR = 3.0
_WHOLE = float(2**64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What happens to the answers of all calls whose model or text contains `contains`.

    Equal requests get equal answers: which of them are hit depends on the text and on `seed`.
    """

    contains: str
    #: Share of the answers that break the schema, from 0 to 1.
    invalid_share: float = 0.0
    #: Share of the answers whose first level lies outside the candles' range, from 0 to 1.
    outside_share: float = 0.0
    #: Share of a judge's answers that prefer the report that comes first, whatever it says.
    first_share: float = 0.0
    #: Factor of the output tokens that are counted.
    tokens_factor: float = 1.0
    seed: int = 0


@dataclass(slots=True, kw_only=True)
class Effects:
    """The effects in force, of one stand-in."""

    planted: Sequence[Effect] = field(default_factory=tuple)

    def played(self, asked: GenerateRequest, answer: dict[str, Any]) -> dict[str, Any]:
        """The answer with the first effect for this request, if there is one."""
        for effect in self.planted:
            if effect.contains in asked.model or effect.contains in asked.text:
                return _played(effect, asked, answer)
        return answer


def effects_in(document: Any) -> list[Effect]:
    """The effects in a JSON document: a list of objects with the fields of `Effect`.

    Raises:
        ValueError: it is something else.
    """
    known = {each.name for each in fields(Effect)}
    if not isinstance(document, list) or not all(
        isinstance(item, Mapping) and {"contains"} <= item.keys() <= known for item in document
    ):
        raise ValueError(f"a list of effects is needed, each with fields of {sorted(known)}")
    return [Effect(**item) for item in document]


def _played(effect: Effect, asked: GenerateRequest, answer: dict[str, Any]) -> dict[str, Any]:
    for text in _texts(answer):
        if _hit(effect, asked, "invalid", effect.invalid_share):
            text["text"] = json.dumps({"summary": {"markdown": 7}, "details": {}})
        elif asks_for_judgement(asked.schema):
            if _hit(effect, asked, "first", effect.first_share):
                text["text"] = _with_first_preferred(text["text"])
        elif _hit(effect, asked, "outside", effect.outside_share):
            text["text"] = _with_level_outside(asked, text["text"])
    _count_more(answer["usageMetadata"], effect.tokens_factor)
    return answer


def _hit(effect: Effect, asked: GenerateRequest, what: str, share: float) -> bool:
    seeded = f"{effect.seed}/{what}/{asked.text}"
    drawn = int.from_bytes(hashlib.sha256(seeded.encode()).digest()[:8])
    return drawn / _WHOLE < share


def _texts(answer: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    for candidate in answer.get("candidates", ()):
        yield from candidate["content"].get("parts", ())[:1]


def _with_first_preferred(text: str) -> str:
    judged = json.loads(text)
    return json.dumps({**judged, "details": {**judged["details"], "better": "FIRST"}})


def _with_level_outside(asked: GenerateRequest, text: str) -> str:
    market = market_of(asked.text)
    try:
        report = json.loads(text)
    except ValueError:
        return text
    if market is not None:
        _move_first_price(report, market.high * _OUTSIDE_FACTOR)
    return json.dumps(report, ensure_ascii=False)


def _move_first_price(value: Any, price: float) -> bool:
    """Whether there was a price to move."""
    if isinstance(value, dict):
        if isinstance(value.get("price"), int | float):
            value["price"] = price
            return True
        return any(_move_first_price(each, price) for each in value.values())
    return isinstance(value, list) and any(_move_first_price(each, price) for each in value)


def _count_more(usage: dict[str, Any], factor: float) -> None:
    before = usage.get("candidatesTokenCount", 0)
    usage["candidatesTokenCount"] = round(before * factor)
    usage["totalTokenCount"] += usage["candidatesTokenCount"] - before
