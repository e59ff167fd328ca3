"""The stand-in as a judge of two reports, which it compares by their prices alone."""

import html
import json
from collections.abc import Iterator, Mapping
from typing import Any

from infra.local.gemini.reports import contents_of, market_of

#: A price so far beyond the candles' range, as a share of it, speaks against a report.
_SLACK = 0.25


def asks_for_judgement(schema: Mapping[str, Any]) -> bool:
    """Whether the schema is that of a judge's answer."""
    details = schema.get("properties", {}).get("details", {})
    better = details.get("properties", {}).get("better", {})
    return "SECOND" in better.get("enum", ())


def judgement(text: str) -> dict[str, Any]:
    """The answer: the report with fewer prices off the candles is better."""
    first, second = _reports(text)
    off = [_off(each, text) for each in (first, second)]
    better = "EQUAL" if off[0] == off[1] else "FIRST" if off[0] < off[1] else "SECOND"
    reason = f"Prices off the candles: {off[0]} in the first, {off[1]} in the second."
    return {"summary": {"markdown": reason}, "details": {"better": better}}


def _reports(text: str) -> tuple[Any, Any]:
    """The last two documents of the message."""
    found: list[Any] = []
    for content in contents_of(text):
        try:
            found.append(json.loads(html.unescape(content)))
        except ValueError:
            continue
    return found[-2], found[-1]


def _off(report: Any, text: str) -> int:
    market = market_of(text)
    if market is None:
        return 0
    room = (market.high - market.low) * _SLACK
    return sum(
        not market.low - room <= price <= market.high + room for price in _prices(report)
    )


def _prices(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        price = value.get("price")
        if isinstance(price, int | float):
            yield price
        for each in value.values():
            yield from _prices(each)
    elif isinstance(value, list):
        for each in value:
            yield from _prices(each)
