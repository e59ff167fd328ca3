"""Tokens per day as stacked bars. Geometry only, pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from infra.ops.usage import Sum, Usage

WIDTH, LABEL_WIDTH, ROW_HEIGHT, _TOP = 960, 110, 28, 26
_COLORS = 6
_MOST_DAYS = 31
_TICKS = 5
_TICK_WIDTH = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class PlotBar:
    """One model's part of a day."""

    x: float
    width: float
    #: Which of the colors.
    series: int
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlotRow:
    """One day."""

    label: str
    y: int
    bars: Sequence[PlotBar]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlotTick:
    """A mark on the axis."""

    x: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """The picture and its size."""

    height: int
    rows: Sequence[PlotRow]
    ticks: Sequence[PlotTick]
    #: The names of the series, in the order of their colors.
    series: Sequence[str]


def tokens_per_day(usage: Usage) -> Plot:
    """The last days on which tokens were used, the newest first."""
    days = list(usage.by_day.items())[: -_MOST_DAYS - 1 : -1]
    series = [name for name, _ in usage.by_model]
    most = max((sum(part.tokens for part in parts.values()) for _, parts in days), default=0)
    step = _round_step(most / _TICKS)
    scale = (WIDTH - LABEL_WIDTH) / max(most, 1)
    return Plot(
        height=_TOP + len(days) * ROW_HEIGHT,
        rows=[
            PlotRow(
                label=day.isoformat(),
                y=_TOP + number * ROW_HEIGHT,
                bars=list(_bars(parts, series, scale)),
            )
            for number, (day, parts) in enumerate(days)
        ],
        ticks=[
            PlotTick(x=round(LABEL_WIDTH + value * scale, 1), label=f"{value:,}")
            for value in range(0, most + 1, step)
            if value * scale < WIDTH - LABEL_WIDTH - _TICK_WIDTH
        ],
        series=series,
    )


def _bars(parts: dict[str, Sum], series: Sequence[str], scale: float) -> Iterator[PlotBar]:
    x = float(LABEL_WIDTH)
    for number, name in enumerate(series):
        if name in parts:
            width = parts[name].tokens * scale
            title = f"{name}: {parts[name].tokens:,} tokens, {parts[name].reports} reports"
            yield PlotBar(
                x=round(x, 1), width=round(width, 1), series=number % _COLORS, title=title
            )
            x += width


def _round_step(rough: float) -> int:
    """The next of 1, 2, 5, 10, 20, 50 … at or above."""
    magnitude = 1
    while magnitude * 10 <= rough:
        magnitude *= 10
    return next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= rough)
