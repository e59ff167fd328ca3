"""What a check looks at: one report, beside the market data that it was made from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True, slots=True, kw_only=True)
class Candle:
    """One candle; `time` as the document writes it."""

    time: str
    open: float
    high: float
    low: float
    close: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A report and what it was made from."""

    #: The model-owned part: `summary` and `details`.
    output: Mapping[str, Any]
    symbol: str
    timeframe: str
    #: The oldest first; empty where the candles have another form.
    candles: Sequence[Candle] = ()
    #: Timeframes of the previous reports that the model was given.
    previous_timeframes: Sequence[str] = field(default_factory=tuple)


def candles_of(document: object) -> Sequence[Candle]:
    """The candles of an OHLCV document; none where it has another form."""
    listed = document.get("candles") if isinstance(document, Mapping) else None
    found = [_candle(item) for item in listed] if isinstance(listed, list) else []
    return [each for each in found if each] if all(found) else []


def _candle(item: object) -> Candle | None:
    if not isinstance(item, Mapping):
        return None
    prices = [item.get(name) for name in _PRICES]
    if not all(
        isinstance(price, int | float) and not isinstance(price, bool) for price in prices
    ):
        return None
    opened, high, low, close = (float(price) for price in prices if price is not None)
    return Candle(time=str(item.get("time", "")), open=opened, high=high, low=low, close=close)


def values_at(output: object, path: str) -> Iterator[tuple[str, Any]]:
    """The values at a path such as `details.scenarios[].probability`, each with its own path.

    `[]` stands for every item of a list. A level that is missing gives nothing.
    """
    found: list[tuple[str, Any]] = [("", output)]
    for part in path.split("."):
        name, listed = part.removesuffix("[]"), part.endswith("[]")
        found = [
            (f"{where}.{name}".lstrip("."), value[name])
            for where, value in found
            if isinstance(value, Mapping) and name in value
        ]
        if listed:
            found = [
                (f"{where}[{index}]", item)
                for where, value in found
                if isinstance(value, Sequence) and not isinstance(value, str)
                for index, item in enumerate(value)
            ]
    yield from found


def numbers_at(output: object, path: str) -> Iterator[tuple[str, float]]:
    """The numbers at the path; null and other values are left out."""
    for where, value in values_at(output, path):
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield where, float(value)
