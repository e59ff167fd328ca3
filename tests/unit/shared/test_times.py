"""Times as the contract writes them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from shared.domain.times import milliseconds, parse_time, rfc3339

NINE = datetime(2026, 1, 5, 9, 0, 0, 123_456, tzinfo=UTC)


def test_times_are_written_in_utc_with_milliseconds() -> None:
    assert rfc3339(NINE.astimezone(timezone(timedelta(hours=2)))) == "2026-01-05T09:00:00.123Z"


@pytest.mark.parametrize(
    "value", ["2026-01-05T09:00:00.123456Z", "2026-01-05T11:00:00.123456+02:00", NINE]
)
def test_strings_and_timestamps_are_read_alike(value: object) -> None:
    assert parse_time(value) == NINE


@pytest.mark.parametrize(
    "value",
    [
        None,
        7,
        "",
        "yesterday",
        "2026-01-05",
        "2026-01-05T09:00:00",
        "0001-01-01T00:00:00+14:00",
    ],
)
def test_what_names_no_moment_is_none(value: object) -> None:
    assert parse_time(value) is None


def test_durations_are_whole_milliseconds_and_never_negative() -> None:
    assert milliseconds(timedelta(microseconds=1_600)) == 2
    assert milliseconds(timedelta(seconds=-1)) == 0
