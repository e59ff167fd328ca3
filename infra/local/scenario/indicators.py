"""The indicators that the charts show; each value uses its own and earlier candles only."""

import math
from typing import NamedTuple

import pandas as pd


class Bands(NamedTuple):
    """Bollinger bands."""

    lower: pd.Series
    middle: pd.Series
    upper: pd.Series


def bollinger_bands(close: pd.Series, *, length: int = 20, width: float = 2.0) -> Bands:
    """The mean of the last `length` closes, `width` standard deviations up and down."""
    window = close.rolling(length)
    middle, deviation = window.mean(), window.std(ddof=0)
    return Bands(middle - width * deviation, middle, middle + width * deviation)


def relative_strength(close: pd.Series, *, length: int = 14) -> pd.Series:
    """Wilder's RSI, from 0 (only falls) to 100 (only rises); NaN until `length` changes.

    Its means begin with the first change, not with the mean of the first `length` changes;
    the difference fades within a few lengths.
    """
    change = close.diff()
    gain = _wilder_mean(change.clip(lower=0), length)
    loss = _wilder_mean(-change.clip(upper=0), length)
    return 100 * gain / (gain + loss)


def drawdown_percent(close: pd.Series) -> pd.Series:
    """The distance from the highest close so far: 0 at a peak, else negative."""
    return 100 * (close / close.cummax() - 1)


def volatility_percent(
    close: pd.Series, *, candles_per_year: int, length: int = 20
) -> pd.Series:
    """The standard deviation of the last `length` returns, scaled to a year."""
    returns = close.pct_change()
    return 100 * math.sqrt(candles_per_year) * returns.rolling(length).std()


def _wilder_mean(values: pd.Series, length: int) -> pd.Series:
    return values.ewm(alpha=1 / length, adjust=False, min_periods=length).mean()
