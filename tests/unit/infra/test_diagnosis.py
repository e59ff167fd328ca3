"""Why a step is in its state, and what an operator is told to do about it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from infra.ops.runs.advice import advice_for, all_advice
from infra.ops.runs.diagnosis import GRACE, Level, StepFacts, diagnose
from shared.domain.errors import ErrorCode

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
SECOND = timedelta(seconds=1)
READY = StepFacts(
    ours=True,
    status="READY",
    error_code=None,
    run_status="RUNNING",
    dependencies={"candles": "SUCCEEDED"},
    job_state=None,
    attempt=0,
    lease_expires_at=None,
    not_before=None,
    wake_at=None,
    last_code=None,
    waiting_since=NOW - SECOND,
)
QUEUED = replace(READY, status="RUNNING", job_state="QUEUED", wake_at=NOW + SECOND)
LEASED = replace(QUEUED, job_state="RUNNING", attempt=2, lease_expires_at=NOW + SECOND)


@pytest.mark.parametrize(
    ("facts", "level", "said"),
    [
        (READY, Level.WAITING, "dispatcher"),
        (replace(READY, waiting_since=NOW - 2 * GRACE), Level.STUCK, "event was lost"),
        (replace(READY, dependencies={"a": "RUNNING"}), Level.WAITING, "Waits for a"),
        (replace(READY, dependencies={"a": "FAILED"}), Level.STUCK, "a is FAILED"),
        (replace(READY, dependencies={"a": "SKIPPED"}), Level.STUCK, "a is SKIPPED"),
        (replace(READY, dependencies={"a": "missing"}), Level.STUCK, "a is missing"),
        (replace(READY, run_status="CANCELLED"), Level.STUCK, "The run is CANCELLED"),
        (replace(READY, ours=False), Level.WAITING, "Another worker"),
        (replace(READY, status="PENDING"), Level.WAITING, "orchestrator"),
        (replace(READY, status="SKIPPED"), Level.DONE, ""),
        (replace(READY, status="NO_SUCH"), Level.STUCK, "none of the contract's"),
        (QUEUED, Level.WAITING, "executor to take the job up"),
        (replace(QUEUED, wake_at=NOW - 2 * GRACE), Level.STUCK, "no sweep woke it"),
        (replace(QUEUED, job_state=None), Level.STUCK, "no job record"),
        (replace(QUEUED, job_state="SUCCEEDED"), Level.STUCK, "Its job is SUCCEEDED"),
        (
            replace(QUEUED, job_state="FAILED", last_code="RUN_TOO_LARGE"),
            Level.STUCK,
            "no room to say so",
        ),
        (LEASED, Level.WAITING, "Attempt 2 is at work"),
        (replace(LEASED, lease_expires_at=NOW - SECOND), Level.WAITING, "executor is gone"),
        (replace(LEASED, lease_expires_at=NOW - 2 * GRACE), Level.STUCK, "executor died"),
    ],
)
def test_each_state_is_explained(facts: StepFacts, level: Level, said: str) -> None:
    finding = diagnose(facts, NOW)

    assert finding.level is level
    assert said in finding.reason
    # When nothing continues by itself, the operator is also told what to do.
    assert bool(finding.remedy) is level.wants_operator


def test_a_wait_for_another_attempt_says_until_when_and_after_what() -> None:
    waiting = replace(QUEUED, not_before=NOW + 30 * SECOND, attempt=1, last_code="RATE_LIMITED")

    reason = diagnose(waiting, NOW).reason
    assert reason == "Waits until 09:00:30 UTC for attempt 2 after RATE_LIMITED."
    # `runs watch` prints only changes, and nothing has changed.
    assert diagnose(waiting, NOW + SECOND).reason == reason


def test_a_call_under_way_names_its_model_since_when_and_when_it_is_cut_off() -> None:
    unbounded = replace(LEASED, asked_model="gemini-x", asked_since=NOW - 16 * SECOND)
    asking = replace(unbounded, cut_off_at=NOW + 75 * SECOND)

    reason = diagnose(asking, NOW).reason
    assert "Asking gemini-x since 08:59:44 UTC, cut off at 09:01:15 UTC." in reason
    # When the record has no deadline, none is made up.
    assert diagnose(unbounded, NOW).reason.endswith("Asking gemini-x since 08:59:44 UTC.")
    assert diagnose(asking, NOW + timedelta(milliseconds=1)).reason == reason


def test_an_answer_in_the_background_is_waited_for_by_name() -> None:
    asking = replace(LEASED, asked_model="m", asked_since=NOW, waits_for_answer=True)
    given_back = replace(QUEUED, waits_for_answer=True, not_before=NOW + 30 * SECOND, attempt=1)

    assert "Waits for m, asked in the background at 09:00:00" in diagnose(asking, NOW).reason
    said = "Waits for an answer in the background, to be looked for at 09:00:30 UTC."
    assert diagnose(given_back, NOW).reason == said


def test_a_wait_for_the_provider_says_slot_place_and_patience() -> None:
    waiting = replace(
        QUEUED,
        not_before=NOW + 300 * SECOND,
        patience_until=NOW + 3_600 * SECOND,
        before_in_queue=37,
        last_code="RATE_LIMITED",
    )

    finding = diagnose(waiting, NOW)
    assert finding.level is Level.WAITING
    assert finding.reason == (
        "Waits for the provider's quota: slot at 09:05:00 UTC, 37 before it,"
        " patience until 2026-01-05 10:00:00 UTC."
    )
    assert diagnose(waiting, NOW + 7_200 * SECOND).level is Level.STUCK


def test_a_failure_is_explained_by_the_error_trees_own_words() -> None:
    failed = replace(READY, status="FAILED", error_code="RATE_LIMITED")
    finding = diagnose(failed, NOW)

    assert finding.level is Level.FAILED
    assert finding.reason.startswith("Gemini's quota was used up")
    assert finding.remedy.startswith("Raise the quota")


def test_a_failure_of_another_worker_is_not_explained_by_guesswork() -> None:
    failed = replace(READY, status="FAILED", error_code="CHART_RENDERER_DOWN")

    assert diagnose(failed, NOW).remedy == ""
    assert advice_for("CHART_RENDERER_DOWN") is None


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_says_what_it_means_and_what_to_do(code: ErrorCode) -> None:
    advice = all_advice()[code]

    assert advice.meaning.endswith(".")
    assert advice.remedy.endswith((".", "?"))
