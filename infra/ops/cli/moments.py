"""Moments and ages as options."""

import re
from datetime import UTC, datetime, timedelta

import typer

from shared.adapters.clock import SystemClock

_AGE = re.compile(r"(?P<number>[0-9]{1,6})(?P<unit>[smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_age(text: str) -> timedelta:
    """A duration such as 90s, 30m, 2h, 1d or 1w.

    Raises:
        typer.BadParameter: it is none.
    """
    match = _AGE.fullmatch(text)
    if match is None:
        raise typer.BadParameter("give a number with s, m, h, d or w, such as 30m")
    return timedelta(**{_UNITS[match["unit"]]: int(match["number"])})


def parse_moment(text: str) -> datetime:
    """A day, a moment (UTC where no zone is named), or an age: that long ago.

    Raises:
        typer.BadParameter: it is none of these.
    """
    if _AGE.fullmatch(text):
        return SystemClock().now() - parse_age(text)
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            "give a day (2026-01-05), a moment (2026-01-05T09:00:00Z) or an age (2h)"
        ) from None
