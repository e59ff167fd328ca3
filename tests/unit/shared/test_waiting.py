"""The order of the queue, and how long a job waits in it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.domain.identifiers import StepId
from shared.domain.waiting import Waiting, begin_waiting, patience_used, queue_range

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PATIENCE = timedelta(hours=6)


def run(steps: int, *, due_at: object = None) -> dict[str, Any]:
    """A run of steps that are at work."""
    llm = {} if due_at is None else {"dueAt": due_at}
    step = {"stepType": "LLM_REPORT", "status": "RUNNING", "inputs": {"llm": llm}}
    return {"steps": {f"s{number:02}": dict(step) for number in range(steps)}}


def waits(data: dict[str, Any], step: str = "s00", *, claimed_at: datetime = NOW) -> Waiting:
    """The wait of a step."""
    return begin_waiting(
        place="gemini-x@ai_studio",
        run=data,
        step_id=StepId(step),
        claimed_at=claimed_at,
        now=claimed_at,
        patience=PATIENCE,
    )


def in_order(*jobs: Waiting) -> list[Waiting]:
    """The jobs in the order of the queue."""
    return sorted(jobs, key=lambda waiting: waiting.queue_key("id"))


def test_the_earliest_due_comes_first_and_then_the_earliest_claim() -> None:
    early, late = waits(run(1)), waits(run(1), claimed_at=NOW + MINUTE)
    urgent = waits(run(1, due_at="2026-01-05T09:10:00Z"), claimed_at=NOW + 5 * MINUTE)

    assert in_order(late, early, urgent) == [urgent, early, late]


def test_steps_of_runs_that_were_claimed_together_take_turns() -> None:
    many, few = run(20), run(2)
    many_first, many_last = waits(many, "s00"), waits(many, "s19")
    few_first, few_last = waits(few, "s00"), waits(few, "s01")

    order = in_order(many_last, many_first, few_last, few_first)

    assert order.index(many_last) == 3
    assert {id(order[0]), id(order[1])} == {id(many_first), id(few_first)}


def test_a_large_run_is_not_overtaken_for_ever() -> None:
    last = waits(run(100), "s99")

    assert in_order(waits(run(1), claimed_at=NOW + 4 * MINUTE), last)[0] is last


def test_patience_ends_when_the_step_is_due() -> None:
    due = NOW + 10 * MINUTE

    assert waits(run(1, due_at=due)).until == due
    assert waits(run(1)).until == NOW + PATIENCE


def test_a_step_that_was_due_before_it_was_claimed_again_has_the_usual_patience() -> None:
    waiting = waits(run(1, due_at=NOW - MINUTE))

    assert waiting.until == NOW + PATIENCE
    assert waiting.due_at == NOW - MINUTE


@pytest.mark.parametrize("due_at", ["soon", 7, "2026-01-05T09:10:00", {}])
def test_a_due_time_that_is_none_orders_nothing(due_at: object) -> None:
    assert waits(run(1, due_at=due_at)) == waits(run(1))


def test_the_keys_of_one_pace_stand_together() -> None:
    after, before = queue_range("gemini-x@ai_studio")
    key = waits(run(1)).queue_key("id")

    assert after < key < before
    assert not after < key.replace("ai_studio", "ai_studio2") < before


@pytest.mark.parametrize(
    ("hours", "used"), [(-1, 0.0), (0, 0.0), (3, 0.5), (4.5, 0.75), (6, 1.0), (9, 1.0)]
)
def test_patience_is_used_up_from_the_claim_on(hours: float, used: float) -> None:
    waiting = waits(run(1))

    assert patience_used(waiting, NOW, NOW + timedelta(hours=hours)) == used
    # The claim was written by a clock that is ahead: no time is left to wait for.
    assert patience_used(waiting, NOW + timedelta(hours=7), NOW) == 1.0
