"""What the market did after a case, from the candles of later cases. Pure.

It is told beside the reports and judges none of them: a sound report of an open situation is
not wrong because price then went the other way.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infra.ops.checks.subject import Candle

#: So many of the candles after the case's last one.
LOOK_AHEAD = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Later:
    """The candles that followed."""

    candles: int
    #: From the case's last close to the last of them, in percent.
    change_percent: float
    low: float
    high: float


def later_of(candles: Sequence[Candle], others: Sequence[Sequence[Candle]]) -> Later | None:
    """What followed these candles, by other candles of the same symbol and timeframe.

    None where no other series goes on, or none of them overlaps these candles.
    """
    if not candles or not candles[-1].close:
        return None
    last = candles[-1]
    known: dict[str, Candle] = {}
    for series in others:
        if any(candle.time == last.time for candle in series):
            known.update((each.time, each) for each in series if each.time > last.time)
    following = [known[time] for time in sorted(known)][:LOOK_AHEAD]
    if not following:
        return None
    return Later(
        candles=len(following),
        change_percent=(following[-1].close / last.close - 1) * 100,
        low=min(each.low for each in following),
        high=max(each.high for each in following),
    )


def later_by_case(
    candles: Mapping[str, Sequence[Candle]], series_of: Mapping[str, tuple[str, str]]
) -> Mapping[str, Later]:
    """What followed each case, among the cases of the same symbol and timeframe."""
    found: dict[str, Later] = {}
    for case_id, own in candles.items():
        others = [
            each
            for other, each in candles.items()
            if other != case_id and series_of[other] == series_of[case_id]
        ]
        later = later_of(own, others)
        if later is not None:
            found[case_id] = later
    return found
