"""The report that the stand-in writes: what can be computed from the user's message."""

import html
import json
import re
from dataclasses import dataclass

_CONTENT = re.compile(r"<content>\n(.*?)\n</content>", re.DOTALL)
_CANDLES = {"open", "high", "low", "close"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """What the candles in a message say."""

    low: float
    high: float
    rises: bool


def market_of(text: str) -> Market | None:
    """The market of the message's first candles; None where it has none."""
    candles = _candles(text)
    if not candles:
        return None
    return Market(
        low=min(candle["low"] for candle in candles),
        high=max(candle["high"] for candle in candles),
        rises=candles[-1]["close"] > candles[0]["close"],
    )


def contents_of(text: str) -> list[str]:
    """What stands in the message's blocks, still escaped."""
    return _CONTENT.findall(text)


def report_markdown(text: str, *, images: int) -> str:
    """A few figures of the candles in the message, and the number of its images."""
    candles = _candles(text)
    lines = ["# Technical report", "", "*Written by the local stand-in, not by a model.*", ""]
    if candles:
        first, last = candles[0], candles[-1]
        change = (last["close"] / first["close"] - 1) * 100 if first["close"] else 0.0
        lines += [
            "## Price",
            "",
            f"- {len(candles)} candles, last close {last['close']:g} ({change:+.1f} %)",
            f"- high {max(candle['high'] for candle in candles):g}",
            f"- low {min(candle['low'] for candle in candles):g}",
            f"- trend: {'up' if change > 0 else 'down'}",
            "",
        ]
    lines += ["## Charts", "", f"{images} chart images were looked at."]
    return "\n".join(lines)


def _candles(text: str) -> list[dict[str, float]]:
    for content in contents_of(text):
        try:
            value = json.loads(html.unescape(content))
        except ValueError:
            continue
        candles = value.get("candles") if isinstance(value, dict) else None
        if candles and all(isinstance(c, dict) and c.keys() >= _CANDLES for c in candles):
            return list(candles)
    return []
