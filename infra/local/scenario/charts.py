"""Chart images, as the chart exporter would draw them.

The same figures give the same bytes, for one version of matplotlib: no user settings, no
metadata, no state outside the call.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import RcKeyType

from infra.local.scenario import drawing
from infra.local.scenario.market import Series
from infra.local.scenario.model import SampleChart

#: 1,000 by 600 pixels: readable for the model, and far below its size limit.
_SIZE_INCHES = (10.0, 6.0)
_DPI = 100
_TIME_LABELS = 7
_STYLE: dict[RcKeyType, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#b8c0c8",
    "axes.grid": True,
    "axes.labelcolor": "#3d4a57",
    "axes.labelsize": 10,
    "axes.spines.left": False,
    "axes.spines.top": False,
    "font.size": 10,
    "grid.color": "#e6eaee",
    "legend.fontsize": 9,
    "legend.frameon": False,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.1,
    "xtick.major.pad": 7,
    "text.color": "#22313f",
    "xtick.color": "#3d4a57",
    "ytick.color": "#3d4a57",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Template:
    kind: str
    label: str
    description: str
    #: Heights of the panels, from the top.
    panels: Sequence[int]
    draw: Callable[[Series, Sequence[Axes]], None]


_TEMPLATES: Mapping[str, _Template] = MappingProxyType(
    {
        "candles_ma_volume_v1": _Template(
            kind="CANDLES_MA_VOLUME",
            label="candles, moving averages, volume",
            description=(
                "{heading}: candlesticks of the last {shown} candles with simple moving "
                "averages over {fast} and {slow} candles; volume below."
            ),
            panels=(3, 1),
            draw=drawing.candles_and_volume,
        ),
        "bollinger_rsi_v1": _Template(
            kind="BOLLINGER_RSI",
            label="close, Bollinger bands, RSI",
            description=(
                "{heading}: closing prices of the last {shown} candles within Bollinger "
                "bands (20 candles, 2 standard deviations); RSI over 14 candles below, "
                "with the levels 30 and 70."
            ),
            panels=(3, 1),
            draw=drawing.bands_and_rsi,
        ),
        "drawdown_volatility_v1": _Template(
            kind="DRAWDOWN_VOLATILITY",
            label="close, drawdown, volatility",
            description=(
                "{heading}: closing prices of the last {shown} candles with the highest "
                "close so far; below, the drawdown from it in percent and the yearly "
                "volatility over 20 candles in percent."
            ),
            panels=(3, 1, 1),
            draw=drawing.drawdown_and_volatility,
        ),
    }
)


def render_chart(series: Series, template_id: str) -> SampleChart:
    """The series drawn by the template: a PNG of 1,000 by 600 pixels.

    Raises:
        KeyError: there is no such template.
    """
    template = _TEMPLATES[template_id]
    fast, slow = series.instrument.averages
    return SampleChart(
        template_id=template_id,
        kind=template.kind,
        label=f"{_heading(series)}: {template.label}",
        description=template.description.format(
            heading=_heading(series), fast=fast, slow=slow, shown=drawing.SHOWN_CANDLES
        ),
        png=_png(series, template),
    )


def _png(series: Series, template: _Template) -> bytes:
    buffer = io.BytesIO()
    with mpl.rc_context():
        # A user's own matplotlibrc must not show in the picture.
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        figure = Figure(figsize=_SIZE_INCHES, dpi=_DPI, layout="constrained")
        panels = _panels(figure, template.panels)
        panels[0].set_title(
            f"{_heading(series)}  ·  {template.label}", loc="left", weight="bold", fontsize=13
        )
        template.draw(series, panels)
        _label_times(panels[-1], series)
        figure.align_ylabels(panels)
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _panels(figure: Figure, heights: Sequence[int]) -> list[Axes]:
    grid = figure.subplots(len(heights), 1, sharex=True, squeeze=False, height_ratios=heights)
    panels: list[Axes] = list(grid[:, 0])
    for panel in panels:
        panel.yaxis.tick_right()
        panel.yaxis.set_label_position("right")
        panel.tick_params(length=0)
        panel.margins(x=0.01)
    return panels


def _heading(series: Series) -> str:
    return f"{series.instrument.symbol} {series.instrument.timeframe}"


def _label_times(panel: Axes, series: Series) -> None:
    times = drawing.shown_part(series.candles).index
    places = np.linspace(0, len(times) - 1, _TIME_LABELS).astype(int)
    labels = [times[place].strftime(series.instrument.time_format) for place in places]
    panel.set_xticks(places, labels)
    panel.get_xticklabels()[0].set_horizontalalignment("left")
    panel.get_xticklabels()[-1].set_horizontalalignment("right")
