"""What the doctor says of configured limits when it compares them with those seen in use."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from executor.billing.limits import CallLimit, CallLimits
from infra.ops.doctor.facts import CheckLevel
from infra.ops.doctor.quotas import quota_findings, wait_findings
from infra.ops.quota.view import Quotas, QuotaStanding, QuotaView, WaitingView
from shared.domain.pacing import Minute, Pace, limited, unknown

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
PLACE = "gemini-x@ai_studio"
LIMITS: CallLimits = {"gemini-x": CallLimit(requests=30)}


def paced(*minutes: tuple[int, int, int]) -> Pace:
    """A pace from minutes: how long ago each was, and how many calls it granted and refused."""
    return replace(
        limited(PLACE, NOW, 30),
        minutes=tuple(
            Minute(at=NOW - timedelta(minutes=ago), granted=granted, refused=refused)
            for ago, granted, refused in minutes
        ),
    )


def problems(pace: Pace, limits: CallLimits = LIMITS, now: datetime = NOW) -> list[str]:
    found = list(quota_findings([("gemini-x", pace)], limits, now))
    assert all(finding.level is CheckLevel.WARNING for finding in found)
    return [finding.problem for finding in found]


def test_a_limit_that_the_provider_keeps_is_no_finding() -> None:
    assert problems(paced((2, 29, 0), (1, 29, 1))) == []
    assert problems(paced()) == []


def test_a_limit_below_which_calls_are_refused_is_found_with_what_was_taken() -> None:
    [problem] = problems(paced((2, 29, 9), (1, 28, 10)))

    assert "30 requests a minute" in problem
    assert "of 57 calls in the last 15 minutes 19 were refused" in problem
    assert "no minute more than 20 were taken" in problem


def test_refusals_of_long_ago_are_no_finding() -> None:
    assert problems(paced((16, 29, 20), (1, 29, 0))) == []


def test_a_limit_that_was_learned_and_not_configured_is_told() -> None:
    learned = replace(
        unknown(PLACE, NOW),
        steady=True,
        peak=31.6,
        minutes=(Minute(at=NOW, granted=30, refused=2),),
    )

    assert problems(learned, {}) == [
        "calls were refused at about 32 a minute, and GEMINI_LIMITS has no limit for it"
    ]
    assert problems(learned, {}, NOW + timedelta(minutes=11)) == []
    assert problems(replace(learned, steady=False), {}) == []


def waits(used: float | None, jobs: int = 37) -> list[str]:
    """The findings on a queue whose longest wait has used this share of its patience."""
    waiting = WaitingView(
        jobs=jobs,
        last_slot_at=NOW,
        patience_until=None if used is None else NOW + timedelta(hours=3),
        patience_used=used,
    )
    view = QuotaView(
        place=PLACE,
        model="gemini-x",
        endpoint="ai_studio",
        tier="standard",
        standing=QuotaStanding.OUTAGE,
        configured=None,
        learned=None,
        allowed=6.0,
        strikes=9,
        resume_at=None,
    )
    quotas = [view, replace(view, waiting=waiting)]
    found = list(wait_findings(Quotas(quotas=quotas, cut=False)))
    assert all(finding.level is CheckLevel.WARNING for finding in found)
    assert all("long-waits.md" in finding.remedy for finding in found)
    return [finding.problem for finding in found]


def test_a_wait_is_found_once_half_of_its_patience_is_used() -> None:
    assert waits(0.49) == waits(None) == []
    [problem] = waits(0.5)
    assert problem == (
        "37 jobs wait for the provider at standard, and one has used 50% of its patience:"
        " steps fail from 2026-01-05 15:00:00 UTC on"
    )
    assert waits(1.0, jobs=1)[0].startswith("1 job waits")
