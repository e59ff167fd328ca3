"""What was used on each day, as stacked bars. Geometry only, pure."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from infra.ops.runs.usage import Sum, Usage

WIDTH, LABEL_WIDTH, ROW_HEIGHT, _TOP = 960, 110, 28, 26
_COLORS = 6
_MOST_DAYS = 31
_TICKS = 5
_TICK_WIDTH = 60
#: Amounts below this are shown as nothing.
_NOTHING = 1e-9


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

    #: What is plotted.
    name: str
    height: int
    rows: Sequence[PlotRow]
    ticks: Sequence[PlotTick]
    #: The names of the series, in the order of their colors.
    series: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """What is plotted, and how it is written."""

    name: str
    of: Callable[[Sum], float]
    written: Callable[[float], str]


TOKENS = Measure(
    name="Tokens", of=lambda part: part.tokens, written=lambda value: f"{round(value):,}"
)
COST = Measure(
    name="Cost", of=lambda part: part.cost_usd, written=lambda value: f"${value:,.4g}"
)


def per_day(usage: Usage, measure: Measure) -> Plot:
    """The last days on which tokens were used, the newest first."""
    days = list(usage.by_day.items())[: -_MOST_DAYS - 1 : -1]
    series = [name for name, _ in usage.by_model]
    most = max((sum(map(measure.of, parts.values())) for _, parts in days), default=0.0)
    scale = (WIDTH - LABEL_WIDTH) / most if most > _NOTHING else 0.0
    return Plot(
        name=measure.name,
        height=_TOP + len(days) * ROW_HEIGHT,
        rows=[
            PlotRow(
                label=day.isoformat(),
                y=_TOP + number * ROW_HEIGHT,
                bars=list(_bars(parts, series, scale, measure)),
            )
            for number, (day, parts) in enumerate(days)
        ],
        ticks=list(_ticks(most, scale, measure)),
        series=series,
    )


def _bars(
    parts: dict[str, Sum], series: Sequence[str], scale: float, measure: Measure
) -> Iterator[PlotBar]:
    x = float(LABEL_WIDTH)
    for number, name in enumerate(series):
        if name in parts:
            value = measure.of(parts[name])
            width = value * scale
            what = f"{measure.name.lower()} {measure.written(value)}"
            yield PlotBar(
                x=round(x, 1),
                width=round(width, 1),
                series=number % _COLORS,
                title=f"{name}: {what}, {parts[name].reports} reports",
            )
            x += width


def _ticks(most: float, scale: float, measure: Measure) -> Iterator[PlotTick]:
    step = _round_step(most / _TICKS)
    for number in range(_TICKS + 1):
        x = number * step * scale
        if x < WIDTH - LABEL_WIDTH - _TICK_WIDTH and (x or not number):
            yield PlotTick(x=round(LABEL_WIDTH + x, 1), label=measure.written(number * step))


def _round_step(rough: float) -> float:
    """The least of …, 0.1, 0.2, 0.5, 1, 2, 5, 10, … that is not below."""
    if rough <= 0:
        return 1.0
    magnitude = 10.0 ** math.floor(math.log10(rough))
    return next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= rough)
