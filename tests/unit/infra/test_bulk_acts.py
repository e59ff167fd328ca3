"""One act on many steps: which steps are chosen, and that the act is done once on each."""

from datetime import UTC, datetime
from typing import Any

import pytest

from infra.local.embedded.documents import EmbeddedDocuments
from infra.local.embedded.objects import EmbeddedObjects
from infra.local.storage.objects import ObjectFolder
from infra.ops.environment.connection import Connection
from infra.ops.environment.listing import EmbeddedRunListing
from infra.ops.runs.finding import RunFilter
from infra.ops.steps.act_commands import new_act
from infra.ops.steps.acts import perform
from infra.ops.steps.bulk import StepFilter, choose_steps
from shared.domain.documents import Create, DocumentRef
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.job_documents import create_job
from shared.domain.jobs import JobRecord, JobState
from shared.domain.steps import OperatorMove

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
RUNS = 250


def run_id(number: int) -> RunId:
    return RunId(f"20260105-{number:06}_{'BTCUSD' if number % 2 else 'ETHUSD'}_abc")


def step(status: str, code: str | None = None) -> dict[str, Any]:
    llm = {"promptId": f"prompt-of-{code}"}
    error = {"error": {"code": code}} if code else {}
    found = {"stepType": "LLM_REPORT", "status": status, "timeframe": "1d"}
    return {**found, "inputs": {"llm": llm}, **error}


@pytest.fixture
async def connection() -> Connection:
    """An environment with more failed steps than one page has."""
    documents = EmbeddedDocuments()
    for number in range(RUNS):
        code = "RATE_LIMITED" if number % 5 else "PROMPT_NOT_FOUND"
        data = {
            "status": "RUNNING",
            "createdAt": f"2026-01-05T09:00:{number % 60:02}Z",
            "flowKey": "daily_v1",
            "scope": {"symbol": run_id(number).split("_")[1]},
            "steps": {"failed": step("FAILED", code), "running": step("RUNNING")},
        }
        states = {"failed": JobState.FAILED, "running": JobState.RUNNING}
        jobs = [
            create_job(
                JobRecord(
                    run_id=run_id(number),
                    step_id=StepId(name),
                    claim_id=ClaimId("c"),
                    event_id="e",
                    claimed_at=NOW,
                    state=state,
                    acknowledged=name == "failed" and number == 1,
                )
            )
            for name, state in states.items()
        ]
        ref = DocumentRef("flow_runs", run_id(number))
        await documents.commit([Create(ref=ref, data=data), *jobs], timeout_seconds=1)
    return Connection(
        name="test",
        project="p",
        database="(default)",
        flow_runs="flow_runs",
        documents=documents,
        runs=EmbeddedRunListing(documents),
        objects=lambda: EmbeddedObjects(ObjectFolder(__file__)),  # type: ignore[arg-type]
        local=None,
    )


@pytest.mark.parametrize(
    ("move", "wanted", "number"),
    [
        # One of them is acknowledged, which means that somebody has looked into it.
        (OperatorMove.RERUN, StepFilter(runs=RunFilter()), RUNS - 1),
        (OperatorMove.RERUN, StepFilter(runs=RunFilter(), code="PROMPT_NOT_FOUND"), 50),
        (
            OperatorMove.RERUN,
            StepFilter(runs=RunFilter(), prompt="prompt-of-RATE_LIMITED"),
            199,
        ),
        (OperatorMove.RERUN, StepFilter(runs=RunFilter(symbol="ETHUSD")), 125),
        (OperatorMove.RERUN, StepFilter(runs=RunFilter(timeframe="4h")), 0),
        (OperatorMove.CANCEL, StepFilter(runs=RunFilter()), RUNS),
        (OperatorMove.CANCEL, StepFilter(runs=RunFilter(id_part="000007")), 1),
    ],
)
async def test_the_filter_chooses_on_every_page(
    connection: Connection, move: OperatorMove, wanted: StepFilter, number: int
) -> None:
    chosen = await choose_steps(connection, move, wanted, limit=10_000)

    assert len(chosen) == number
    assert len({one.run_id for one in chosen}) == number


async def test_given_again_the_command_goes_on_where_it_was_ended(
    connection: Connection,
) -> None:
    wanted = StepFilter(runs=RunFilter(), code="PROMPT_NOT_FOUND")
    move = OperatorMove.RERUN
    first = await choose_steps(connection, move, wanted, limit=20)
    for one in first:
        act = new_act(move, one.step, reason="published", author="ann")
        ref = DocumentRef("flow_runs", one.run_id)
        await perform(move, connection.documents, ref, StepId(one.step.step_id), act)

    rest = await choose_steps(connection, move, wanted, limit=10_000)

    assert len(rest) == 30
    assert not {one.run_id for one in rest} & {one.run_id for one in first}
