"""The checks by name. Each gives the problems that it finds: none is a pass."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from infra.ops.checks.subject import Subject, numbers_at, values_at

#: Finds what is wrong with a report, in short sentences that name the path.
Check: TypeAlias = Callable[[Subject], Sequence[str]]
_SUMMARY = "summary.markdown"
#: How a report may call a timeframe, beside its own name.
_TIMEFRAME_WORDS: Mapping[str, Sequence[str]] = {
    "1M": ("monthly", "month"),
    "1w": ("weekly", "week"),
    "1d": ("daily", "day"),
}


def within_candles(path: str, *, slack: float = 0.0) -> Check:
    """Numbers lie between the lowest low and the highest high of the candles.

    Args:
        path: where they are.
        slack: how far outside is allowed, as a share of the range.
    """

    def check(subject: Subject) -> Sequence[str]:
        if not subject.candles:
            return []
        low = min(candle.low for candle in subject.candles)
        high = max(candle.high for candle in subject.candles)
        room = (high - low) * slack
        return [
            f"{where}: {value:g} lies outside {low:g} to {high:g}"
            for where, value in numbers_at(subject.output, path)
            if not low - room <= value <= high + room
        ]

    return check


def sums_to(path: str, *, total: float = 1.0, tolerance: float = 0.01) -> Check:
    """Numbers sum to the total; it is no problem that there are none."""

    def check(subject: Subject) -> Sequence[str]:
        values = [value for _, value in numbers_at(subject.output, path)]
        if not values or abs(sum(values) - total) <= tolerance:
            return []
        return [f"{path}: they sum to {sum(values):g}, not to {total:g}"]

    return check


def sums_to_at_most(path: str, *, total: float = 1.0, tolerance: float = 0.01) -> Check:
    """Numbers sum to the total at most."""

    def check(subject: Subject) -> Sequence[str]:
        found = sum(value for _, value in numbers_at(subject.output, path))
        if found <= total + tolerance:
            return []
        return [f"{path}: they sum to {found:g}, more than {total:g}"]

    return check


def between(path: str, *, least: float, most: float) -> Check:
    """Numbers lie between two bounds, which are allowed too."""

    def check(subject: Subject) -> Sequence[str]:
        return [
            f"{where}: {value:g} lies outside {least:g} to {most:g}"
            for where, value in numbers_at(subject.output, path)
            if not least <= value <= most
        ]

    return check


def agrees_with_text(
    path: str, *, words: Mapping[str, Sequence[str]], text: str = _SUMMARY
) -> Check:
    """The text does not contradict the value: it has its words, or none of another value.

    Args:
        path: where the value is, such as `details.trend.direction`.
        words: for each value, the words by which a text says it.
        text: where the text is.
    """

    def check(subject: Subject) -> Sequence[str]:
        said = _joined(subject, text)
        used = {value for value, own in words.items() if _says_any(said, own)}
        return [
            f"{where}: {value}, and the text says {', '.join(sorted(used))}"
            for where, value in values_at(subject.output, path)
            if used and isinstance(value, str) and value in words and value not in used
        ]

    return check


def names_all(*, words: Sequence[str], text: str = _SUMMARY) -> Check:
    """The text has each of the words."""

    def check(subject: Subject) -> Sequence[str]:
        said = _joined(subject, text)
        return [f"{text}: does not say {word}" for word in words if not _says_any(said, [word])]

    return check


def names_timeframes(*, text: str = _SUMMARY) -> Check:
    """The text names the report's timeframe and those of the previous reports."""

    def check(subject: Subject) -> Sequence[str]:
        said = _joined(subject, text)
        return [
            f"{text}: does not name the timeframe {timeframe}"
            for timeframe in dict.fromkeys([subject.timeframe, *subject.previous_timeframes])
            if not _says_any(said, [timeframe, *_TIMEFRAME_WORDS.get(timeframe, ())])
        ]

    return check


def words_between(*, least: int = 0, most: int, text: str = _SUMMARY) -> Check:
    """The text has so many words."""

    def check(subject: Subject) -> Sequence[str]:
        count = len(_joined(subject, text).split())
        if least <= count <= most:
            return []
        return [f"{text}: {count} words, not {least} to {most}"]

    return check


#: The checks that a declaration may name.
LIBRARY: Mapping[str, Callable[..., Check]] = {
    "within_candles": within_candles,
    "sums_to": sums_to,
    "sums_to_at_most": sums_to_at_most,
    "between": between,
    "agrees_with_text": agrees_with_text,
    "names_all": names_all,
    "names_timeframes": names_timeframes,
    "words_between": words_between,
}


def _joined(subject: Subject, path: str) -> str:
    texts: list[Any] = [value for _, value in values_at(subject.output, path)]
    return "\n".join(each for each in texts if isinstance(each, str))


def _says_any(said: str, words: Sequence[str]) -> bool:
    return any(
        re.search(rf"(?<!\w){re.escape(word)}(?!\w)", said, re.IGNORECASE) for word in words
    )
