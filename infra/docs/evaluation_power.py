"""How many cases an evaluation needs: the table and its curve, computed exactly."""

from collections.abc import Iterator, Mapping, Sequence

from infra.docs.markdown import page, table
from infra.ops.comparison.power import power_of_rate

_BASE, _FLAWLESS, _ERROR_RATE = 0.97, 1.0, 0.05
_LOSSES = (0.01, 0.02, 0.03, 0.05, 0.08, 0.12)
_CASES = (25, 50, 100, 200, 400, 800)
_CURVE = (*range(10, 200, 10), *range(200, 801, 25))
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 760, 380, 60, 46, 16, 110
_MOST_CASES = 800
#: A curve that ends above is named where it is steep, at about its half.
_FLAT, _STEEP = 0.99, 0.55
#: As the console's plots, readable on light and dark grounds.
_COLORS = ("#4a5668", "#1650b5", "#12683c", "#7d5200", "#ad1d14", "#6b2fa0")


def power_page() -> str:
    """`docs/reference/evaluation-power.md`."""
    return page(
        "How many cases an evaluation needs",
        "infra/docs/evaluation_power.py",
        "The share of evaluations that find a loss of valid first answers, by `--fail-if "
        "'valid < 0%'`. Computed exactly for a one-sided test at 5 %; without any loss, at "
        "most 5 % of the evaluations find one.",
        "## The baseline's first answers are valid in 97 of 100 cases",
        "Both variants fail independently of each other.",
        _table(_BASE),
        "![The same as a curve](../images/evaluation-power.svg)",
        "## The baseline's first answers are always valid",
        _table(_FLAWLESS),
    )


def _table(base: float) -> str:
    rows = [
        [
            _points(loss),
            *(f"{_power(cases, loss, base):.0%}" for cases in _CASES),
        ]
        for loss in _LOSSES
    ]
    return table(("loss", *(f"{cases} cases" for cases in _CASES)), rows)


def _points(loss: float) -> str:
    points = round(loss * 100)
    return f"{points} point{'s' if points > 1 else ''}"


def power_pictures() -> Mapping[str, str]:
    """The curve, by its file's name."""
    parts = ["\n".join(_axes()), "\n".join(_curves())]
    style = (
        "<style>text{font:13px Helvetica,Arial,sans-serif;fill:#1a2230}"
        ".grid{stroke:#d3dae1}.curve{fill:none;stroke-width:2.2}</style>"
    )
    return {
        "evaluation-power.svg": (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
            'role="img" aria-label="Power of an evaluation by its number of cases">'
            f'{style}<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>\n'
            + "\n".join(parts)
            + "\n</svg>\n"
        )
    }


def _power(cases: int, loss: float, base: float = _BASE) -> float:
    return power_of_rate(cases, base=base, loss=loss, error_rate=_ERROR_RATE)


def _x(cases: int) -> float:
    return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * cases / _MOST_CASES, 1)


def _y(share: float) -> float:
    return round(_TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - share), 1)


def _axes() -> Iterator[str]:
    for percent in range(0, 101, 20):
        y = _y(percent / 100)
        yield f'<path class="grid" d="M{_LEFT} {y}H{_WIDTH - _RIGHT}"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{percent} %</text>'
    for cases in range(0, _MOST_CASES + 1, 200):
        yield (
            f'<text x="{_x(cases)}" y="{_HEIGHT - _BOTTOM + 20}" '
            f'text-anchor="middle">{cases}</text>'
        )
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    yield f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">cases</text>'


def _curves() -> Iterator[str]:
    for color, loss in zip(_COLORS, _LOSSES, strict=True):
        points: Sequence[str] = [f"{_x(cases)} {_y(_power(cases, loss))}" for cases in _CURVE]
        end = _y(_power(_CURVE[-1], loss))
        yield f'<path class="curve" stroke="{color}" d="M{" L".join(points)}"/>'
        label = _points(loss)
        if _power(_CURVE[-1], loss) < _FLAT:
            yield f'<text x="{_x(_MOST_CASES) + 6}" y="{end + 4}">{label}</text>'
            continue
        cases = next(each for each in _CURVE if _power(each, loss) > _STEEP)
        yield (
            f'<text x="{_x(cases) + 8}" y="{_y(_power(cases, loss)) + 14}" '
            f'style="fill:{color}">{label}</text>'
        )
