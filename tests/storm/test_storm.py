"""A refusing provider fails no step: here in small storms; `make storm` runs large ones."""

from collections.abc import Callable

import pytest

from tests.storm.quotas import Bucket, FixedWindow, Open, Outage, Quota, SlidingWindow
from tests.storm.rows import in_flight_with
from tests.storm.site import MODEL, Asked, Site

STEPS = 120
PER_MINUTE = 30
IDEAL_SECONDS = 60.0 * STEPS / PER_MINUTE

QUOTAS: dict[str, Callable[[bool], Quota]] = {
    "fixed window": lambda delays: FixedWindow(limit=PER_MINUTE, delays=delays, phase=20),
    "sliding window": lambda delays: SlidingWindow(limit=PER_MINUTE, delays=delays),
    "bucket": lambda delays: Bucket(rate=lambda _: PER_MINUTE, capacity=5, delays=delays),
}


def runs(count: int, *, steps: int, model: str = MODEL, first: int = 0) -> list[Asked]:
    """Runs that all begin at once."""
    return [
        Asked(run_id=f"20260105-090000_BTCUSDT_{number:06x}", steps=steps, model=model)
        for number in range(first, first + count)
    ]


@pytest.mark.parametrize("delays", [True, False], ids=["delays", "no delays"])
@pytest.mark.parametrize("kind", QUOTAS)
def test_a_minute_s_quota_fails_no_step_and_little_is_asked_for_in_vain(
    kind: str, *, delays: bool
) -> None:
    site = Site(seed=1, quotas={MODEL: QUOTAS[kind](delays)}, runs=runs(6, steps=20))

    seen = site.run(until_seconds=3_600)

    assert seen.ended == {"SUCCEEDED": STEPS}
    assert seen.taken[MODEL] == STEPS
    assert set(site.paid.values()) == {1}
    assert seen.refused[MODEL] <= 0.6 * STEPS
    # The first minute is used up before anything is known, which a small storm feels more.
    assert max(seen.ended_at.values()) <= 1.25 * IDEAL_SECONDS + 60
    assert seen.dead_letters == 0


def test_an_outage_of_minutes_fails_no_step_and_dead_letters_nothing() -> None:
    bucket = Bucket(rate=lambda _: 60.0, capacity=10, delays=False)
    site = Site(seed=1, quotas={MODEL: Outage(until=600, then=bucket)}, runs=runs(5, steps=20))

    seen = site.run(until_seconds=3_600)

    assert seen.ended == {"SUCCEEDED": 100}
    assert seen.refused[MODEL] <= 3 * 100
    assert seen.dead_letters == 0


def test_a_model_that_is_exhausted_holds_up_no_other() -> None:
    refusing = Outage(until=10**9, then=Open())
    asked = [*runs(3, steps=10), *runs(3, steps=10, model="other", first=3)]
    site = Site(seed=1, quotas={MODEL: refusing, "other": Open()}, runs=asked)

    seen = site.run(until_seconds=120)

    others = {run.run_id for run in asked if run.model == "other"}
    assert sum(run_id in others for run_id, _ in seen.ended_at) == 30
    assert not any(job.partition("~")[0] in others for job in seen.queued)


def test_patience_ends_a_step_with_the_provider_s_code_and_how_long_it_waited() -> None:
    site = Site(
        seed=1,
        quotas={MODEL: Outage(until=10**9, then=Open())},
        runs=runs(1, steps=3),
        environ={"REFUSAL_PATIENCE_SECONDS": "600"},
    )

    seen = site.run(until_seconds=3_600)

    assert seen.ended == {"FAILED": 3}
    assert all(600 <= at <= 600 + 120 for at in seen.ended_at.values())
    steps = site.run_document(site.runs[0].run_id)["steps"].values()
    errors = [step["error"] for step in steps if "error" in step]
    assert {error["code"] for error in errors} <= {"RATE_LIMITED", "GEMINI_REQUEST_FAILED"}
    assert all(error["details"]["waitedSeconds"] >= 590 for error in errors)
    assert seen.dead_letters == 0


def test_an_urgent_step_passes_those_that_wait() -> None:
    urgent = Asked(
        run_id="20260105-090000_BTCUSDT_urgent", steps=1, at_seconds=120, due_in_seconds=600
    )
    quota = FixedWindow(limit=PER_MINUTE, delays=True)
    site = Site(seed=1, quotas={MODEL: quota}, runs=[*runs(6, steps=20), urgent])

    seen = site.run(until_seconds=3_600)

    key = (urgent.run_id, "s000")
    assert seen.ended_at[key] - seen.claimed_at[key] <= 90


def test_a_step_that_nobody_refuses_costs_four_calls_of_the_database() -> None:
    site = Site(seed=1, quotas={MODEL: Open()}, runs=runs(30, steps=1), call_seconds=(2, 9))

    seen = site.run(until_seconds=600)

    assert seen.ended == {"SUCCEEDED": 30}
    assert seen.database_calls == 4 * 30


def test_one_executor_has_hundreds_of_steps_in_flight() -> None:
    found = in_flight_with(1, steps=500)

    assert found.at_once >= 500
    assert found.succeeded == found.steps
    assert found.answers_a_step == 1
