"""What the panels of a chart show, drawn over the candles' positions from 0 on."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from infra.local.scenario import indicators
from infra.local.scenario.market import Series

SHOWN_CANDLES = 120
#: From this ratio of highest to lowest price on, early moves would vanish on a linear axis.
_LOG_SCALE_RATIO = 15
_UP, _DOWN = "#1a9c75", "#d64550"
_PRICE, _FAST, _SLOW, _EXTRA = "#22313f", "#e08a1e", "#2f6fb5", "#7d5fb2"


def candles_and_volume(series: Series, panels: Sequence[Axes]) -> None:
    """Candlesticks with both moving averages over volume bars; two panels."""
    price, volume = panels
    shown = shown_part(series.candles)
    colors = np.where(shown["Close"] >= shown["Open"], _UP, _DOWN)
    _candlesticks(price, shown, colors)
    for length, color in zip(series.instrument.averages, (_FAST, _SLOW), strict=True):
        average = series.candles["Close"].rolling(length).mean()
        _line(price, average, color, label=f"SMA {length}")
    _mark_last_price(price, series)
    _price_axis(price, shown["Low"].min(), shown["High"].max())
    _bars(volume, shown["Volume"], colors)


def bands_and_rsi(series: Series, panels: Sequence[Axes]) -> None:
    """The close within its Bollinger bands over the RSI; two panels."""
    price, oscillator = panels
    close = series.candles["Close"]
    bands = indicators.bollinger_bands(close)
    lower, upper = shown_part(bands.lower), shown_part(bands.upper)
    price.fill_between(range(len(lower)), lower, upper, color=_SLOW, alpha=0.12, linewidth=0)
    for edge, label in ((bands.upper, "Bollinger 20, 2"), (bands.lower, None)):
        _line(price, edge, _SLOW, label=label, width=0.8)
    _line(price, bands.middle, _FAST, label="SMA 20", width=1.2)
    _line(price, close, _PRICE, label="Close")
    _mark_last_price(price, series)
    _price_axis(price, lower.min(), upper.max())
    _rsi(oscillator, series)


def drawdown_and_volatility(series: Series, panels: Sequence[Axes]) -> None:
    """The close, its drawdown from the highest close, its volatility; three panels."""
    price, drawdown, volatility = panels
    close = series.candles["Close"]
    _line(price, close.cummax(), _SLOW, label="Highest close so far", width=1.0)
    _line(price, close, _PRICE, label="Close")
    _mark_last_price(price, series)
    _price_axis(price, shown_part(close).min(), shown_part(close.cummax()).max())
    _shaded(drawdown, indicators.drawdown_percent(close), _DOWN, "Drawdown %")
    yearly = indicators.volatility_percent(
        close, candles_per_year=series.instrument.candles_per_year
    )
    _shaded(volatility, yearly, _EXTRA, "Volatility %")


def shown_part(values: Any) -> Any:
    """The part of a data frame or a series that a chart shows."""
    return values.tail(SHOWN_CANDLES)


def _candlesticks(panel: Axes, shown: Any, colors: Any) -> None:
    places = np.arange(len(shown))
    panel.vlines(places, shown["Low"], shown["High"], colors=colors, linewidth=0.9)
    body = (shown["Close"] - shown["Open"]).abs()
    foot = shown[["Open", "Close"]].min(axis=1)
    panel.bar(places, body, width=0.62, bottom=foot, color=colors, edgecolor=colors)


def _line(
    panel: Axes, values: Any, color: str, *, label: str | None, width: float = 1.6
) -> None:
    shown = shown_part(values)
    panel.plot(range(len(shown)), shown, color=color, label=label, linewidth=width)


def _bars(panel: Axes, values: Any, colors: Any) -> None:
    panel.bar(range(len(values)), values, width=0.62, color=colors, alpha=0.7)
    panel.set_ylabel("Volume")
    panel.yaxis.set_major_formatter(FuncFormatter(_short_number))
    panel.locator_params(axis="y", nbins=4)


def _rsi(panel: Axes, series: Series) -> None:
    _line(panel, indicators.relative_strength(series.candles["Close"]), _EXTRA, label=None)
    for level in (30, 70):
        panel.axhline(level, color=_DOWN, linewidth=0.9, linestyle="--")
    panel.axhspan(30, 70, color=_EXTRA, alpha=0.06, linewidth=0)
    panel.set_ylim(0, 100)
    panel.set_yticks([0, 30, 50, 70, 100])
    panel.set_ylabel("RSI 14")


def _shaded(panel: Axes, values: Any, color: str, label: str) -> None:
    shown = shown_part(values)
    panel.fill_between(range(len(shown)), shown, 0, color=color, alpha=0.18, linewidth=0)
    _line(panel, values, color, label=None, width=1.2)
    panel.set_ylabel(label)
    panel.locator_params(axis="y", nbins=4)


def _price_axis(panel: Axes, lowest: float, highest: float) -> None:
    panel.set_ylabel("Price")
    # Beside the title: anywhere within the panel it may hide a price.
    panel.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.3, ncols=4)
    if highest / lowest < _LOG_SCALE_RATIO:
        return
    panel.set_yscale("log")
    panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.yaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_formatter(FuncFormatter(lambda price, _: f"{price:,.0f}"))


def _mark_last_price(panel: Axes, series: Series) -> None:
    last = float(series.candles["Close"].iloc[-1])
    # Named in the legend: a tag at the axis would cover the label of a tick.
    label = f"Last {last:,.{series.instrument.price_decimals}f}"
    panel.axhline(last, color=_PRICE, linewidth=0.9, linestyle=":", label=label)


def _short_number(value: float, _position: int | None = None) -> str:
    for size, suffix in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if value >= size:
            return f"{value / size:g}{suffix}"
    return f"{value:g}"
