"""The deadline, at its edges."""

from shared.domain.deadline import Deadline

DEADLINE = Deadline(ends_at=100.0, reserve_seconds=10.0)


def test_a_call_may_end_when_the_reserve_begins_and_no_later() -> None:
    assert DEADLINE.allows(30.0, now=60.0)
    assert not DEADLINE.allows(30.5, now=60.0)


def test_the_reserve_is_there_for_finalizing_alone() -> None:
    assert (DEADLINE.available(95.0), DEADLINE.remaining(95.0)) == (0.0, 5.0)


def test_after_the_end_nothing_is_left_and_never_less() -> None:
    assert (DEADLINE.available(200.0), DEADLINE.remaining(200.0)) == (0.0, 0.0)
