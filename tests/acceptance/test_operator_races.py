"""Two operators act on one step at once: one act happens, one is refused and names it."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra.local.emulators.clients import firestore_client
from infra.ops.steps.acts import ActRefused, perform
from shared.adapters.firestore import FirestoreDocuments
from shared.domain.attempts import OperatorAct
from shared.domain.documents import Create, DocumentRef
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.job_documents import create_job, job_ref, parse_job_record
from shared.domain.jobs import JobRecord, JobState
from shared.domain.steps import OperatorMove
from tests.support.emulators import Emulators

RACES = 100
NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
STEP = StepId("llm_report_1d")
CLAIM = ClaimId("seen by both")
SECONDS = 60


def failed(run_id: RunId) -> list[Create]:
    step = {"stepType": "LLM_REPORT", "status": "FAILED", "error": {"code": "RATE_LIMITED"}}
    run = {"status": "RUNNING", "steps": {STEP: step}}
    job = JobRecord(
        run_id=run_id,
        step_id=STEP,
        claim_id=CLAIM,
        event_id="e",
        claimed_at=NOW,
        state=JobState.FAILED,
    )
    return [Create(ref=DocumentRef("flow_runs", run_id), data=run), create_job(job)]


def act(author: str, number: int) -> OperatorAct:
    at = NOW + timedelta(seconds=number)
    return OperatorAct(
        act="rerun", at=at, reason="quota raised", by=author, via="test", claim_id=CLAIM
    )


@pytest.mark.emulators
@pytest.mark.timeout(600)
async def test_of_two_operators_at_the_same_moment_one_acts_and_one_is_told_who_did(
    emulators: Emulators, project_id: str
) -> None:
    client: Any = firestore_client(emulators.firestore_host, project_id)
    documents = FirestoreDocuments(client)
    winners: set[str] = set()
    for number in range(RACES):
        run_id = RunId(f"20260105-{number:06}_BTCUSD_abc")
        await documents.commit(failed(run_id), timeout_seconds=SECONDS)
        ref = DocumentRef("flow_runs", run_id)
        found = await asyncio.gather(
            *(
                perform(OperatorMove.RERUN, documents, ref, STEP, act(author, number))
                for author in ("ann", "ben")
            ),
            return_exceptions=True,
        )

        [refusal] = [one for one in found if one is not None]
        [stored] = await documents.read([job_ref(run_id, STEP)], timeout_seconds=SECONDS)
        assert stored is not None
        [kept] = parse_job_record(stored.data).operator_acts
        assert isinstance(refusal, ActRefused), refusal
        assert f"({kept.by} did a rerun at 2026-01-05T09:" in str(refusal)
        winners.add(str(kept.by))
    client.close()

    assert winners <= {"ann", "ben"}
