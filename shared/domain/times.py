"""Times as the contract writes them."""

from datetime import UTC, datetime, timedelta


def rfc3339(moment: datetime) -> str:
    """The moment in UTC with milliseconds, such as 2026-01-05T09:00:00.000Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(value: object) -> datetime | None:
    """The moment that a document holds, as an RFC 3339 string or as a timestamp; else None."""
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
        # Within hours of the calendar's ends, some have no time in UTC.
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def milliseconds(duration: timedelta) -> int:
    """The duration in whole milliseconds, never negative."""
    return max(0, round(duration.total_seconds() * 1000))
