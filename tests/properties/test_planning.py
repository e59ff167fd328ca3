"""Any run at all: each executable step gets exactly one claim and one job; no other does."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dispatcher.planning import executable_steps, is_worker_owned, plan_claim
from shared.domain.documents import Create, DocumentRef, Update, Version
from shared.domain.flow_run import RunStatus, parse_flow_run
from shared.domain.identifiers import ClaimId, RunId
from shared.domain.steps import StepStatus

RUN_ID = RunId("20260105-090000_BTCUSDT_abc")
NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
NAMES = ("a", "b", "1d:c", "d-é")
STEPS = st.fixed_dictionaries(
    {
        "stepType": st.sampled_from(["LLM_REPORT", "LLM_REPORT", "CHART_EXPORT"]),
        "status": st.sampled_from([str(status) for status in StepStatus]),
        "dependsOn": st.lists(st.sampled_from([*NAMES, "gone"]), max_size=2),
    }
)
RUNS = st.fixed_dictionaries(
    {
        "status": st.sampled_from([str(status) for status in RunStatus]),
        "steps": st.dictionaries(st.sampled_from(NAMES), STEPS),
    }
)


def claimed(document: dict[str, Any]) -> dict[str, Any]:
    """The document after a claim of everything executable, as the store would apply it."""
    run = parse_flow_run(RUN_ID, document)
    ready = executable_steps(run)
    steps = {
        name: {**step, "status": "RUNNING"} if name in ready else step
        for name, step in document["steps"].items()
    }
    return {**document, "steps": steps}


@given(document=RUNS)
def test_no_executable_step_is_lost_and_no_other_is_touched(document: dict[str, Any]) -> None:
    run = parse_flow_run(RUN_ID, document)

    claim = plan_claim(
        run=run,
        steps=executable_steps(run),
        run_ref=DocumentRef("flow_runs", RUN_ID),
        data=document,
        guard=Version(1),
        stored_jobs={},
        claim_id=ClaimId("c"),
        event_id="e",
        now=NOW,
        queued_for=timedelta(seconds=60),
    )

    update, *records = claim.writes
    assert isinstance(update, Update)
    touched = {path[1] for path in update.changes}
    stored = [write.data["stepId"] for write in records if isinstance(write, Create)]
    published = [job.step_id for job in claim.jobs]
    assert list(executable_steps(run)) == stored == published
    assert touched == set(stored)


@given(document=RUNS)
def test_a_run_whose_executable_steps_were_claimed_asks_for_nothing_more(
    document: dict[str, Any],
) -> None:
    before = parse_flow_run(RUN_ID, document)
    after = parse_flow_run(RUN_ID, claimed(document))

    assert executable_steps(after) == ()
    assert is_worker_owned(before, after) is bool(executable_steps(before))


@given(old=RUNS, new=RUNS)
def test_a_change_that_makes_a_step_executable_is_never_taken_for_our_own(
    old: dict[str, Any], new: dict[str, Any]
) -> None:
    before, after = parse_flow_run(RUN_ID, old), parse_flow_run(RUN_ID, new)

    if set(executable_steps(after)) - set(executable_steps(before)):
        assert not is_worker_owned(before, after)
