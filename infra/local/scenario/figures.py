"""What the exporters would have written about the shipped markets.

The one module of the scenario that pays for pandas and matplotlib.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from infra.local.scenario.charts import render_chart
from infra.local.scenario.market import load_series, ohlcv_document
from infra.local.scenario.model import SampleChart, compact_json

_CANDLES, _BANDS, _DRAWDOWN = (
    "candles_ma_volume_v1",
    "bollinger_rsi_v1",
    "drawdown_volatility_v1",
)
_TEMPLATES = {
    ("BTCUSD", "1M"): (_CANDLES, _DRAWDOWN),
    ("GOOG", "1w"): (_CANDLES, _DRAWDOWN),
    ("GOOG", "1d"): (_CANDLES, _BANDS),
    ("EURUSD", "4h"): (_CANDLES, _BANDS, _DRAWDOWN),
}
#: 25 trading days of EURUSD: about 62 KB of JSON.
_HOURS = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketExport:
    """One symbol in one timeframe: the OHLCV document and the charts."""

    candles: bytes
    charts: tuple[SampleChart, ...]


def market_exports() -> Mapping[tuple[str, str], MarketExport]:
    """All exports of the demo by symbol and timeframe; takes about two seconds."""
    return {market: _export(*market) for market in _TEMPLATES}


def hourly_candles(*, size_bytes: int) -> bytes:
    """A valid OHLCV document of exactly this size: five weeks of hours, filled up by a note.

    Raises:
        ValueError: the candles alone are larger.
    """
    series = load_series("EURUSD", "1h")
    document = ohlcv_document(series, candles=_HOURS) | {"note": ""}
    missing = size_bytes - len(compact_json(document))
    if missing < 0:
        raise ValueError(f"the candles are {-missing} bytes over {size_bytes}")
    return compact_json(document | {"note": "." * missing})


def _export(symbol: str, timeframe: str) -> MarketExport:
    series = load_series(symbol, timeframe)
    charts = (render_chart(series, name) for name in _TEMPLATES[symbol, timeframe])
    return MarketExport(candles=compact_json(ohlcv_document(series)), charts=tuple(charts))
