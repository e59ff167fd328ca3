"""The pace of calls: what it learns, and how many slots it grants."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.documents import Create, Update, Version
from shared.domain.pace_documents import pace_place, pace_write, parse_pace
from shared.domain.pacing import (
    FAST_UNTIL,
    FIRST_RATE,
    FORGOTTEN_AFTER,
    HIGHEST_RATE,
    IN_FORCE,
    LOWEST_RATE,
    MANY_REFUSED,
    PROBE_SECONDS,
    Pace,
    first_refused,
    limited,
    unknown,
)

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
SECOND = timedelta(seconds=1)
PLACE = "gemini-x@ai_studio"


def steady(peak: float, *, since: datetime = NOW) -> Pace:
    """A pace whose limit is known, in the middle of its work."""
    pace = first_refused(PLACE, since, delay=None)
    return replace(pace, peak=peak, steady=True, strikes=0, resume_at=since, filled_at=since)


def granted_in(pace: Pace, seconds: int, *, begin: datetime = NOW) -> tuple[Pace, int]:
    """All slots granted in so many seconds, if they are asked for every two seconds."""
    total = 0
    for second in range(0, seconds, 2):
        pace, count = pace.granted(begin + second * SECOND, 10_000)
        total += count
    return pace, total


def test_no_slot_is_granted_before_the_delay_that_the_provider_named() -> None:
    pace = first_refused(PLACE, NOW, delay=timedelta(seconds=40))

    assert pace.granted(NOW + 39 * SECOND, 5)[1] == 0
    assert granted_in(pace, 20, begin=NOW + 40 * SECOND)[1] > 0


def test_a_longer_delay_from_a_call_that_was_under_way_is_heeded() -> None:
    pace = first_refused(PLACE, NOW, delay=timedelta(seconds=10))

    longer = pace.refused(NOW + SECOND, delay=timedelta(seconds=50))

    assert longer.resume_at == NOW + 51 * SECOND
    assert longer.strikes == pace.strikes


def test_a_day_s_delay_is_looked_into_after_minutes() -> None:
    pace = first_refused(PLACE, NOW, delay=timedelta(hours=9))

    assert pace.resume_at - NOW == timedelta(minutes=10)
    assert pace.granted(pace.resume_at + timedelta(minutes=1), 9)[1] == 1


def test_without_a_delay_pauses_double_and_end_with_a_single_call() -> None:
    pace = first_refused(PLACE, NOW, delay=None)
    pauses: list[float] = []
    now = pace.resume_at
    for _ in range(8):
        pace = pace.refused(now)
        pauses.append((pace.resume_at - now).total_seconds())
        now = pace.resume_at

    assert pauses == [2, 4, 8, 12, 12, 12, 12, 12]
    pace, first = pace.granted(now, 100)
    assert first == 1
    assert pace.granted(now + 2 * SECOND, 100)[1] == 0


def test_single_calls_that_are_refused_close_together_are_strikes_in_a_row() -> None:
    pace = replace(first_refused(PLACE, NOW, delay=None), strikes=2)
    for expected in (3, 4, 5):
        now = pace.resume_at + SECOND
        pace, granted = pace.granted(now, 9)
        assert granted == 1
        pace = pace.refused(now + 2 * SECOND)
        assert pace.strikes == expected

    assert not pace.steady


def test_a_probe_that_nobody_refused_ends_the_pauses() -> None:
    pace = replace(first_refused(PLACE, NOW, delay=None), strikes=7)
    pace, _ = pace.granted(NOW + SECOND, 1)
    later = NOW + SECOND + timedelta(seconds=PROBE_SECONDS)

    pace, _ = pace.granted(later, 10)

    assert (pace.strikes, pace.probe_at) == (0, None)


def test_the_rate_comes_back_to_the_limit_stays_there_and_then_looks_for_another() -> None:
    pace, _ = steady(60).granted(NOW + 2 * SECOND, 1)
    began = pace.growing_since
    assert began is not None

    rates = [pace.rate(began + seconds * SECOND) for seconds in (0, 15, 20, 120)]

    assert rates[0] == pytest.approx(57)
    assert rates[1] == pytest.approx(60)
    assert 60 <= rates[2] < 62
    assert rates[3] > 1_000


def test_waiting_does_not_let_the_rate_grow() -> None:
    pace = first_refused(PLACE, NOW, delay=None)

    assert pace.rate(NOW + timedelta(hours=1)) == FIRST_RATE


def test_some_refused_of_many_lower_the_limit_by_little() -> None:
    pace, _ = granted_in(steady(600), 20)

    after = pace.refused(NOW + 20 * SECOND, count=3)

    assert after.strikes == 1
    assert after.peak > 0.95 * pace.rate(NOW + 16 * SECOND)


def test_a_fast_start_slows_down_before_it_can_know_of_refusals() -> None:
    begun, _ = unknown(PLACE, NOW).granted(NOW + 5 * SECOND, 1)
    begun = replace(begun, growing_since=NOW)

    rates = [begun.rate(NOW + second * SECOND) for second in range(301)]

    assert rates[6] == 2 * FIRST_RATE
    fast = next(second for second, rate in enumerate(rates) if rate >= FAST_UNTIL)
    assert fast <= 20
    assert rates[fast + 30] == pytest.approx(2 * rates[fast])
    assert rates == sorted(rates)


def test_a_start_at_a_high_rate_goes_on_from_there() -> None:
    begun = replace(unknown(PLACE, NOW), peak=600.0, growing_since=NOW)

    assert begun.rate(NOW) == 600
    assert begun.rate(NOW + 30 * SECOND) == pytest.approx(1_200)


def test_calls_that_were_refused_late_show_no_limit_above_what_was_taken() -> None:
    """Their slots were granted, but the calls waited for instances while the rate grew."""
    begun = replace(unknown(PLACE, NOW), growing_since=NOW)
    pace, granted = granted_in(begun, 120)
    at = NOW + 170 * SECOND

    many = pace.refused(at, count=granted - 60)
    few = pace.refused(at, count=MANY_REFUSED - 1)

    assert granted > 300
    assert many.peak < 60
    assert few.peak > 300


def test_refusal_after_refusal_forgets_the_limit() -> None:
    pace = steady(6_000)
    now = NOW
    for _ in range(FORGOTTEN_AFTER + 12):
        pace = pace.refused(now)
        now = pace.resume_at

    assert not pace.steady
    assert pace.peak == LOWEST_RATE


def test_the_next_slot_is_named_when_the_bucket_holds_one() -> None:
    pace, granted = steady(60, since=NOW - 20 * SECOND).granted(NOW, 5)
    assert granted

    at = pace.next_slot_at(NOW)

    assert pace.granted(at - timedelta(seconds=0.1), 1)[1] == 0
    assert pace.granted(at + timedelta(seconds=0.1), 1)[1] == 1


def test_a_configured_limit_is_kept_from_the_first_call() -> None:
    pace = limited(PLACE, NOW, 30)

    _, total = granted_in(pace, 600)

    assert 285 <= total <= 300


def test_a_refusal_below_the_configured_limit_lowers_it_by_little() -> None:
    pace, _ = granted_in(limited(PLACE, NOW, 30), 60)

    assert pace.refused(NOW + 60 * SECOND).peak >= 0.95 * 30


def test_what_was_learned_is_in_force_for_a_while_and_while_jobs_wait() -> None:
    pace = first_refused(PLACE, NOW, delay=None)
    end = NOW + IN_FORCE

    assert pace.in_force(end - SECOND)
    assert not pace.in_force(end)
    assert pace.seen_waiting(end - SECOND, 1).in_force(end + SECOND)
    assert not pace.seen_waiting(end - SECOND, 0).in_force(end + SECOND)


def test_jobs_that_wait_come_first_only_while_a_sweep_is_there_to_wake_them() -> None:
    pace = unknown(PLACE, NOW).seen_waiting(NOW, 5)

    assert pace.queued(NOW + SECOND)
    assert not pace.queued(NOW + timedelta(minutes=5))


@given(
    seconds=st.floats(0, 1e8), peak=st.floats(LOWEST_RATE, HIGHEST_RATE), known=st.booleans()
)
def test_the_rate_is_always_within_its_bounds(
    seconds: float, peak: float, *, known: bool
) -> None:
    pace = replace(steady(peak), steady=known, growing_since=NOW)

    assert LOWEST_RATE <= pace.rate(NOW + timedelta(seconds=seconds)) <= HIGHEST_RATE


@given(
    st.lists(
        st.tuples(
            st.floats(0, 30), st.booleans(), st.integers(0, 50), st.none() | st.floats(0, 99)
        ),
        max_size=40,
    )
)
def test_never_more_is_granted_than_the_bucket_held_or_before_its_time(
    acts: list[tuple[float, bool, int, float | None]],
) -> None:
    pace, now = first_refused(PLACE, NOW, delay=None), NOW
    for wait, refuses, count, delay in acts:
        now += timedelta(seconds=wait)
        if refuses:
            named = None if delay is None else timedelta(seconds=delay)
            pace = pace.refused(now, count=max(1, count), delay=named)
            continue
        room, before = pace.room(now), pace
        pace, granted = pace.granted(now, count)
        assert granted <= min(room, count)
        assert not (granted and now < before.resume_at)
        parsed = parse_pace(PLACE, stored(pace))
        assert parsed == pace


def stored(pace: Pace) -> dict[str, object]:
    """The fields of the document."""
    write = pace_write(pace, None)
    assert isinstance(write, Create)
    return dict(write.data)


def test_a_stored_pace_is_guarded_by_the_version_that_was_read() -> None:
    write = pace_write(unknown(PLACE, NOW), Version(7))

    assert isinstance(write, Update)
    assert write.guard == 7


@pytest.mark.parametrize("data", [{}, {"peak": "x"}, {"peak": 1, "resumeAt": "never"}])
def test_a_document_that_is_no_pace_counts_as_none(data: dict[str, object]) -> None:
    assert parse_pace(PLACE, data) is None


@pytest.mark.parametrize("model", ["models/x", "a|b", "ü", "\ud800", "x" * 128])
def test_any_name_of_a_model_gives_a_document_s_id(model: str) -> None:
    place = pace_place(model, "vertex-global")

    assert "/" not in place
    assert "|" not in place
    assert len(place) < 1_000
