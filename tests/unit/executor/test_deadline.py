"""The deadline, at its edges."""

from datetime import UTC, datetime

from executor.jobs.deadline import Deadline


class _Stopped:
    """A clock that stands still."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def now(self) -> datetime:
        return datetime(2026, 1, 5, tzinfo=UTC)

    def monotonic(self) -> float:
        return self._seconds


def at(now: float, *, ends_at: float = 100.0, reserve_seconds: float = 10.0) -> Deadline:
    return Deadline(clock=_Stopped(now), ends_at=ends_at, reserve_seconds=reserve_seconds)


def test_a_call_may_end_when_the_reserve_begins_and_no_later() -> None:
    assert at(60.0).allows(30.0)
    assert not at(60.0).allows(30.5)


def test_the_reserve_is_there_for_finalizing_alone() -> None:
    assert (at(95.0).available(), at(95.0).remaining()) == (0.0, 5.0)


def test_after_the_end_nothing_is_left_and_never_less() -> None:
    assert (at(200.0).available(), at(200.0).remaining()) == (0.0, 0.0)
