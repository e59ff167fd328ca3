"""The shipped market data, resampled to the timeframes of the demo's reports."""

from dataclasses import dataclass
from importlib import resources
from typing import Any

import pandas as pd

from infra.local.scenario.model import Document

#: Candles in an exported document: about 15 KB of JSON.
EXPORTED_CANDLES = 150
_FOLDS = {"Open": "first", "High": "max", "Low": "min", "Close": "last", "Volume": "sum"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Instrument:
    """One symbol in one timeframe, and what its charts need to know about it."""

    symbol: str
    timeframe: str
    file: str
    #: How pandas folds the file's rows into candles named by the time at which they open.
    rule: str
    price_decimals: int
    volume_decimals: int
    #: Lengths of the two moving averages, in candles.
    averages: tuple[int, int]
    #: Turns the volatility of one candle into that of a year.
    candles_per_year: int
    time_format: str


INSTRUMENTS: tuple[Instrument, ...] = (
    Instrument(
        symbol="BTCUSD",
        timeframe="1M",
        file="BTCUSD_monthly.csv",
        rule="MS",
        price_decimals=2,
        volume_decimals=2,
        averages=(6, 12),
        candles_per_year=12,
        time_format="%Y-%m",
    ),
    Instrument(
        symbol="GOOG",
        timeframe="1w",
        file="GOOG_daily.csv",
        rule="W-MON",
        price_decimals=2,
        volume_decimals=0,
        averages=(10, 30),
        candles_per_year=52,
        time_format="%Y-%m-%d",
    ),
    Instrument(
        symbol="GOOG",
        timeframe="1d",
        file="GOOG_daily.csv",
        rule="D",
        price_decimals=2,
        volume_decimals=0,
        averages=(20, 50),
        candles_per_year=252,
        time_format="%Y-%m-%d",
    ),
    Instrument(
        symbol="EURUSD",
        timeframe="4h",
        file="EURUSD_hourly.csv",
        rule="4h",
        price_decimals=5,
        volume_decimals=0,
        averages=(12, 30),
        candles_per_year=5 * 6 * 52,
        time_format="%m-%d %H:%M",
    ),
    Instrument(
        symbol="EURUSD",
        timeframe="1h",
        file="EURUSD_hourly.csv",
        rule="h",
        price_decimals=5,
        volume_decimals=0,
        averages=(24, 120),
        candles_per_year=5 * 24 * 52,
        time_format="%m-%d %H:%M",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """An instrument's candles, oldest first, indexed by the time (UTC) at which they open.

    `candles` is a data frame with the columns Open, High, Low, Close and Volume.
    """

    instrument: Instrument
    candles: pd.DataFrame


def load_series(symbol: str, timeframe: str) -> Series:
    """All shipped candles of the symbol in this timeframe.

    Raises:
        LookupError: no such data is shipped.
    """
    for instrument in INSTRUMENTS:
        if (instrument.symbol, instrument.timeframe) == (symbol, timeframe):
            return Series(instrument=instrument, candles=_resampled(instrument))
    raise LookupError(f"no market data for {symbol} {timeframe}")


def ohlcv_document(series: Series, *, candles: int = EXPORTED_CANDLES) -> Document:
    """The document that the OHLCV exporter would write: the last so many candles."""
    return {
        "schemaVersion": 1,
        "symbol": series.instrument.symbol,
        "timeframe": series.instrument.timeframe,
        "candles": [
            _candle(time, row, series.instrument)
            for time, row in series.candles.tail(candles).iterrows()
        ],
    }


def _resampled(instrument: Instrument) -> pd.DataFrame:
    resampler = _rows(instrument.file).resample(instrument.rule, label="left", closed="left")
    # Nights, weekends and holidays have no candles.
    return resampler.agg(_FOLDS).dropna()


def _rows(file: str) -> pd.DataFrame:
    source = resources.files("infra.local.scenario") / "data" / file
    with source.open(encoding="utf-8") as lines:
        return pd.read_csv(lines, index_col="Time", parse_dates=True)


def _candle(time: Any, row: Any, instrument: Instrument) -> Document:
    prices = {
        name.lower(): round(float(row[name]), instrument.price_decimals)
        for name in ("Open", "High", "Low", "Close")
    }
    volume = round(float(row["Volume"]), instrument.volume_decimals or None)
    return {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ"), **prices, "volume": volume}
