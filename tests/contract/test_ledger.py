"""The ceiling holds in a race on the real Firestore's preconditions."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from random import Random

import pytest

from executor.billing.day import DayBudget
from executor.billing.ledger import Reservation, SpendLedger
from executor.billing.prices import MicroUsd, Price
from executor.contract.profile import parse_profile
from executor.jobs.deadline import Deadline
from executor.ports import ModelRequest
from infra.local.embedded.documents import EmbeddedDocuments
from infra.local.emulators.clients import firestore_client
from shared.adapters.clock import SystemClock
from shared.adapters.firestore import FirestoreDocuments
from shared.domain.documents import DocumentRef
from shared.domain.errors import CostCeilingExceeded
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.jobs import JobRecord, JobState
from shared.ports import DocumentStore

RUN = RunId("20260105-090000_BTCUSD_one")
RACERS, FITTING, WORST_CASE = 12, 5, 10
PRICE = Price(
    valid_from=datetime(2020, 1, 1, tzinfo=UTC).date(),
    input=Decimal(0),
    output=Decimal(1),
    cached=Decimal(0),
    thought=Decimal(1),
)
REQUEST = ModelRequest(
    profile=parse_profile(
        {
            "modelName": "gemini-a",
            "maxOutputTokens": WORST_CASE,
            "structuredOutput": {
                "schemaId": "llm_schema_1m_report_v1_0",
                "kind": "LLM_REPORT_OUTPUT",
            },
        }
    ),
    system_instruction="",
    user_text="",
    images=(),
    json_schema={},
)


@pytest.fixture(params=["embedded", pytest.param("firestore", marks=pytest.mark.emulators)])
async def store(
    request: pytest.FixtureRequest, project_id: str
) -> AsyncIterator[DocumentStore]:
    if request.param == "embedded":
        yield EmbeddedDocuments()
        return
    emulators = request.getfixturevalue("emulators")
    client = firestore_client(emulators.firestore_host, project_id)
    yield FirestoreDocuments(client)
    client.close()  # type: ignore[no-untyped-call]


def job(step: int) -> JobRecord:
    return JobRecord(
        run_id=RUN,
        # Whatever characters a step id has, it is a key in the account.
        step_id=StepId(f"1d:step-`{step}"),
        claim_id=ClaimId("claim"),
        event_id="event",
        claimed_at=datetime.now(UTC),  # noqa: TID251 - nothing depends on it
        state=JobState.RUNNING,
    )


DEADLINE = Deadline(
    clock=SystemClock(), ends_at=SystemClock().monotonic() + 3_600, reserve_seconds=0
)


def executor(store: DocumentStore, name: str) -> SpendLedger:
    """The ledger of one instance."""
    clock, random = SystemClock(), Random(name)
    return SpendLedger(
        documents=store,
        clock=clock,
        random=random,
        prices={"gemini-a": [PRICE]},
        per_run=None,
        day=DayBudget(
            documents=store,
            clock=clock,
            random=random,
            ceiling=MicroUsd(FITTING * WORST_CASE),
            holder=name,
        ),
    )


async def test_of_racing_executors_as_many_call_as_the_ceiling_allows(
    store: DocumentStore,
) -> None:
    executors = [executor(store, str(number)) for number in range(RACERS)]

    results = await asyncio.gather(
        *(
            spending.reserve(REQUEST, job(step), DEADLINE)
            for step, spending in enumerate(executors)
        ),
        return_exceptions=True,
    )

    held = [result for result in results if isinstance(result, Reservation)]
    refused = [result for result in results if isinstance(result, CostCeilingExceeded)]
    assert (len(held), len(refused)) == (FITTING, RACERS - FITTING)

    for spending, result in zip(executors, results, strict=True):
        if isinstance(result, Reservation):
            spending.charge(result, MicroUsd(4))
        await spending.settle(job(0), DEADLINE)
    day = DocumentRef("llm_spend", f"day~{held[0].day}")
    [account] = await store.read([day], timeout_seconds=10)
    assert account is not None
    assert account.data["spentMicroUsd"] == FITTING * 4
    assert account.data["slices"] == {}
