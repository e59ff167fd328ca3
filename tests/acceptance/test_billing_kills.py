"""A kill at each point, under each call policy: what is paid, and how the step ends."""

from pathlib import Path

import pytest

from infra.local.gemini.faults import Asked, FaultKind, FaultRule
from tests.chaos.kill_stage import kill_at
from tests.chaos.mortal import Point
from tests.tables.billing_kills import HOOKLESS, TABLE, Cost, Policy
from tests.tables.billing_kills_page import PAGE, page


@pytest.mark.parametrize(
    ("point", "policy", "cost"),
    [(point, policy, cost) for (point, policy), cost in TABLE.items()],
    ids=[f"{policy}: {point}" for point, policy in TABLE],
)
async def test_a_kill_costs_what_the_table_says(
    point: Point, policy: Policy, cost: Cost, tmp_path: Path
) -> None:
    aftermath = await kill_at(point, policy.environ, tmp_path)

    assert aftermath.killed == (point is not Point.NEVER)
    assert aftermath.billed_calls == cost.billed_calls
    assert aftermath.left_at_provider == cost.left_at_provider
    error = aftermath.step.get("error", {})
    assert error.get("code") == cost.code
    status = "FAILED" if cost.code else "SUCCEEDED"
    assert aftermath.step["status"] == aftermath.record["state"] == status


@pytest.mark.parametrize("policy", HOOKLESS)
@pytest.mark.parametrize("point", Point)
async def test_without_its_hook_a_kill_costs_what_it_costs_without_hooks(
    point: Point, policy: Policy, tmp_path: Path
) -> None:
    lost = FaultRule(kind=FaultKind.HOOK_LOST, at=Asked.HOOK, times=99)
    aftermath = await kill_at(point, policy.environ, tmp_path, lost)

    cost = TABLE[point, HOOKLESS[policy]]
    assert aftermath.billed_calls == cost.billed_calls
    assert aftermath.left_at_provider == cost.left_at_provider
    assert aftermath.step.get("error", {}).get("code") == cost.code


def test_with_its_hook_no_kill_costs_a_second_call() -> None:
    costs = {TABLE[point, Policy.HOOKS] for point in Point}

    assert costs == {Cost(billed_calls=1)}


def test_the_page_of_the_table_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `make docs-generated`"


def test_in_the_background_a_recorded_call_is_never_paid_twice() -> None:
    recorded = list(Point)[list(Point).index(Point.DURING_CALL) :]

    assert {TABLE[point, Policy.BACKGROUND].billed_calls for point in recorded} == {1}
