"""Candles with the levels of two reports, as the geometry of a small picture. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.ops.checks.subject import Candle
from infra.ops.environment.stored_documents import map_at
from infra.ops.reports.candles import PriceLevel, levels_of

WIDTH, HEIGHT = 720, 220
_RIGHT = 70
#: Levels further from the candles than so many times their range are named, not drawn.
_REACH = 0.6
_MOST_LEVELS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnLevel:
    """A price that a report names."""

    level: PriceLevel
    #: Of the middle of its line; None where it lies outside the picture.
    y: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """The candles, and by variant the levels."""

    rising: str
    falling: str
    levels: Mapping[str, Sequence[DrawnLevel]]
    low: float
    high: float


def picture_of(
    candles: Sequence[Candle], outputs: Mapping[str, Mapping[str, Any] | None]
) -> Picture | None:
    """The picture; None without candles."""
    if not candles:
        return None
    low, high = min(each.low for each in candles), max(each.high for each in candles)
    room = (high - low) * _REACH or abs(high) * _REACH or 1.0
    named = {
        name: levels_of(map_at(output, "details"))[:_MOST_LEVELS]
        for name, output in outputs.items()
    }
    near = [
        level.price
        for levels in named.values()
        for level in levels
        if low - room <= level.price <= high + room
    ]
    scale = _Scale(low=min([low, *near]), high=max([high, *near]), count=len(candles))
    return Picture(
        rising=scale.path([(n, each) for n, each in enumerate(candles) if _rises(each)]),
        falling=scale.path([(n, each) for n, each in enumerate(candles) if not _rises(each)]),
        levels={
            name: [
                DrawnLevel(level=level, y=scale.y(level.price) if level.price in near else None)
                for level in levels
            ]
            for name, levels in named.items()
        },
        low=scale.low,
        high=scale.high,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scale:
    low: float
    high: float
    count: int

    def y(self, price: float) -> float:
        span = self.high - self.low or 1.0
        return round(4 + (HEIGHT - 8) * (self.high - price) / span, 1)

    def path(self, candles: Sequence[tuple[int, Candle]]) -> str:
        """Bodies and wicks of the candles, in one path."""
        step = (WIDTH - _RIGHT) / self.count
        half = round(step * 0.35, 2)
        return "".join(
            f"M{round((number + 0.5) * step, 1)} {self.y(each.high)}V{self.y(each.low)}"
            f"m{-half} {round(self.y(each.open) - self.y(each.low), 1)}"
            f"h{2 * half}V{self.y(each.close)}h{-2 * half}z"
            for number, each in candles
        )


def _rises(candle: Candle) -> bool:
    return candle.close >= candle.open
