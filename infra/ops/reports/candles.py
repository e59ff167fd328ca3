"""The candles that the model saw, and the report's levels on them. Geometry only, pure."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

WIDTH, HEIGHT = 960, 380
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 215, 14, 24
_MOST_CANDLES = 120
_MOST_LEVELS = 24
_LABEL_GAP = 13
_TICKS = 4
#: Farther from the last close than this, a number is hardly a level of this chart.
_FARTHEST = 3.0
_LISTS = ("candles", "ohlcv", "bars", "data")
_FIELDS = (("open", "o"), ("high", "h"), ("low", "l"), ("close", "c"))
_TIMES = ("time", "t", "timestamp", "openTime", "date")
_KINDS = (
    ("support", re.compile("support", re.IGNORECASE)),
    ("resistance", re.compile("resistance", re.IGNORECASE)),
    ("target", re.compile("target|takeProfit", re.IGNORECASE)),
    ("invalidation", re.compile("invalid|stop", re.IGNORECASE)),
    ("level", re.compile("price|level|entry|pivot", re.IGNORECASE)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnCandle:
    """One candle, its time as it is written."""

    time: str
    open: float
    high: float
    low: float
    close: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceLevel:
    """A price that the report names."""

    #: `support`, `resistance`, `target`, `invalidation` or `level`.
    kind: str
    price: float
    #: As it is stored, and of which scenario it is.
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CandleBody:
    """A candle's place."""

    x: float
    width: float
    top: float
    height: float
    high: float
    low: float
    rises: bool
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LevelLine:
    """A level's place; its label may stand a little beside it."""

    kind: str
    y: float
    label_y: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AxisMark:
    """A place on an axis."""

    at: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CandlePicture:
    """The picture; its size is WIDTH by HEIGHT."""

    bodies: Sequence[CandleBody]
    lines: Sequence[LevelLine]
    prices: Sequence[AxisMark]
    times: Sequence[AxisMark]
    plot_left: int
    plot_right: int
    #: Levels outside of what the candles span and a little more.
    off_the_chart: Sequence[str]

    @property
    def kinds(self) -> Sequence[str]:
        """The kinds of levels that are drawn."""
        return list(dict.fromkeys(line.kind for line in self.lines))


def parse_candles(data: bytes) -> Sequence[DrawnCandle]:
    """The candles in an OHLCV document, the latest last; none in one of another form."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return []
    rows = document
    if isinstance(document, Mapping):
        rows = next((document[name] for name in _LISTS if name in document), None)
    found = map(_candle, rows) if isinstance(rows, list) else ()
    return [candle for candle in found if candle is not None][-_MOST_CANDLES:]


def levels_of(details: object) -> Sequence[PriceLevel]:
    """The prices that are named in `output.details`, as far as names tell."""
    found = dict.fromkeys(_levels(details, "", ""))
    return list(found)[:_MOST_LEVELS]


def picture_of(
    candles: Sequence[DrawnCandle], levels: Sequence[PriceLevel]
) -> CandlePicture | None:
    """The candles with the levels that are near them; None without candles."""
    if not candles:
        return None
    last = candles[-1].close
    low, high = min(one.low for one in candles), max(one.high for one in candles)
    reach = max(high - low, abs(last) * 0.01, 1e-9)
    near = [one for one in levels if low - reach / 2 <= one.price <= high + reach / 2]
    low = min([low, *(one.price for one in near)]) - reach * 0.03
    high = max([high, *(one.price for one in near)]) + reach * 0.03
    scale = (HEIGHT - _TOP - _BOTTOM) / (high - low)

    def y_of(price: float) -> float:
        return round(_TOP + (high - price) * scale, 1)

    slot = (WIDTH - _LEFT - _RIGHT) / len(candles)
    prices = [low + (high - low) * (n + 0.5) / _TICKS for n in range(_TICKS)]
    return CandlePicture(
        bodies=[
            CandleBody(
                x=round(_LEFT + n * slot + slot * 0.15, 1),
                width=round(max(slot * 0.7, 1.0), 1),
                top=y_of(max(one.open, one.close)),
                height=max(round(abs(one.open - one.close) * scale, 1), 1.0),
                high=y_of(one.high),
                low=y_of(one.low),
                rises=one.close >= one.open,
                title=f"{one.time}: open {one.open:g}, high {one.high:g}, "
                f"low {one.low:g}, close {one.close:g}",
            )
            for n, one in enumerate(candles)
        ],
        lines=list(_lines(near, y_of)),
        prices=[AxisMark(at=y_of(price), text=_short(price, high - low)) for price in prices],
        times=[
            AxisMark(at=round(_LEFT + n * slot, 1), text=candles[n].time[:10])
            for n in range(0, len(candles), max(len(candles) // _TICKS, 1))
            if _LEFT + n * slot < WIDTH - _RIGHT - 70
        ],
        plot_left=_LEFT,
        plot_right=WIDTH - _RIGHT,
        off_the_chart=[
            one.text
            for one in levels
            if one not in near and abs(one.price) <= abs(last) * _FARTHEST
        ],
    )


def _candle(row: object) -> DrawnCandle | None:
    if isinstance(row, Mapping):
        time = next((str(row[name]) for name in _TIMES if name in row), "")
        values = [next((row[name] for name in names if name in row), None) for names in _FIELDS]
    elif isinstance(row, list) and len(row) > len(_FIELDS):
        time, values = str(row[0]), row[1 : len(_FIELDS) + 1]
    else:
        return None
    try:
        opened, high, low, close = (float(value) for value in values)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    if not all(map(math.isfinite, (opened, high, low, close))):
        return None
    return DrawnCandle(time=time[:40], open=opened, high=high, low=low, close=close)


def _levels(value: object, path: str, owner: str) -> Iterator[PriceLevel]:
    if isinstance(value, Mapping):
        named = value.get("name") or value.get("scenario") or value.get("label")
        owner = named[:24] if isinstance(named, str) else owner
        for name, item in value.items():
            yield from _levels(item, f"{path}.{name}", owner)
    elif isinstance(value, list):
        for item in value[:_MOST_LEVELS]:
            yield from _levels(item, path, owner)
    elif isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        kind = next((kind for kind, named in _KINDS if named.search(path)), None)
        if kind is not None and math.isfinite(value):
            text = " ".join(
                filter(
                    None,
                    [
                        f"{value:f}" if isinstance(value, Decimal) else f"{value}",
                        kind,
                        owner.lower(),
                    ],
                )
            )
            yield PriceLevel(kind=kind, price=float(value), text=text)


def _lines(levels: Sequence[PriceLevel], y_of: Any) -> Iterator[LevelLine]:
    """The labels from above to below, none over another."""
    free = 0.0
    for level in sorted(levels, key=lambda one: -one.price):
        y = y_of(level.price)
        label_y = max(y, free)
        free = label_y + _LABEL_GAP
        yield LevelLine(kind=level.kind, y=y, label_y=round(label_y, 1), text=level.text)


def _short(price: float, span: float) -> str:
    """So many digits that neighbours on the axis differ."""
    digits = max(0, min(8, 2 - math.floor(math.log10(span)))) if span > 0 else 2
    return f"{price:,.{digits}f}"
