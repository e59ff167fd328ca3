"""Fifty steps of one run end at the same moment, each in a commit of its own."""

import asyncio
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest

from executor.contract.artifacts import GcsUri
from executor.jobs.deadline import Deadline
from executor.jobs.finalizing import Finalizer
from executor.jobs.invocation import Invocation
from executor.jobs.lease import HeldJob
from executor.jobs.outcome import StoredReport, Succeeded
from executor.jobs.run_locks import RunLocks
from infra.local.emulators.clients import firestore_client
from infra.local.emulators.firestore_proxy import FirestoreProxy, firestore_proxy
from shared.adapters.clock import SystemClock
from shared.adapters.firestore import FirestoreDocuments
from shared.domain.documents import Create, DocumentRef
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.job_documents import create_job, parse_job_record
from shared.domain.jobs import JobRecord, JobState
from shared.log import EventLogger
from tests.support.emulators import Emulators
from tests.support.held_job import record_reader

pytestmark = [pytest.mark.emulators]

STEPS = 50
RUN = RunId("20260105-090000_BTCUSD_many")
RUN_REF = DocumentRef("flow_runs", RUN)
CLOCK = SystemClock()
HOUR = timedelta(hours=1)


@pytest.fixture
async def proxy(emulators: Emulators) -> AsyncIterator[FirestoreProxy]:
    async with firestore_proxy(emulators.firestore_host) as running:
        yield running


@pytest.fixture
async def documents(
    proxy: FirestoreProxy, project_id: str
) -> AsyncIterator[FirestoreDocuments]:
    client: Any = firestore_client(proxy.address, project_id)
    yield FirestoreDocuments(client)
    client.close()


async def held(documents: FirestoreDocuments, number: int) -> HeldJob:
    now = datetime.now(UTC)  # noqa: TID251 -- the emulator's own time is the machine's
    record = JobRecord(
        run_id=RUN,
        step_id=StepId(f"report_{number}"),
        claim_id=ClaimId("claim"),
        event_id="event",
        claimed_at=now,
        state=JobState.QUEUED,
        wake_at=now + HOUR,
    )
    version = await documents.commit([create_job(record)], timeout_seconds=30)
    job = HeldJob(
        documents=documents,
        clock=CLOCK,
        record=record,
        version=version,
        owner=f"owner-{number}",
        lease_for=HOUR,
        random=Random(number),
    )
    await job.acquire(reserve_call=True)
    return job


#: In how many processes the steps end, and how many commits a step may take.
@pytest.mark.parametrize(("processes", "most_commits"), [(STEPS, 4), (10, 3), (1, 1)])
async def test_fifty_steps_of_one_run_end_at_once_and_none_is_lost(
    processes: int, most_commits: int, documents: FirestoreDocuments, proxy: FirestoreProxy
) -> None:
    step = {"stepType": "LLM_REPORT", "status": "RUNNING", "inputs": {}}
    run = {"status": "RUNNING", "steps": {f"report_{n}": dict(step) for n in range(STEPS)}}
    await documents.commit([Create(ref=RUN_REF, data=run)], timeout_seconds=30)
    jobs = [await held(documents, number) for number in range(STEPS)]
    [snapshot] = await documents.read([RUN_REF], timeout_seconds=30)
    assert snapshot is not None
    log = EventLogger(component="executor", env="test", clock=CLOCK, stream=io.StringIO())
    ends_at = CLOCK.monotonic() + 120
    deadline = Deadline(clock=CLOCK, ends_at=ends_at, reserve_seconds=60)
    finalizers = [finalizer(documents, seed) for seed in range(processes)]
    before = proxy.calls["Commit"]

    async def finish(number: int) -> None:
        uri = GcsUri("reports", f"report_{number}.json")
        outcome = Succeeded(
            report=StoredReport(uri=uri, sha256=None, size_bytes=1), answer=None
        )
        writer = finalizers[number % processes]
        await writer.finish(
            outcome,
            Invocation(
                run=snapshot,
                registry={},
                held=jobs[number],
                deadline=deadline,
                log=log,
                started=CLOCK.monotonic(),
            ),
        )

    await asyncio.gather(*(finish(number) for number in range(STEPS)))

    commits = proxy.calls["Commit"] - before
    [after] = await documents.read([RUN_REF], timeout_seconds=30)
    assert after is not None
    assert {
        name: (each["status"], each["outputs"]["gcs_uri"])
        for name, each in after.data["steps"].items()
    } == {f"report_{n}": ("SUCCEEDED", f"gs://reports/report_{n}.json") for n in range(STEPS)}
    stored = await documents.read(
        [create_job(job.record).ref for job in jobs], timeout_seconds=30
    )
    assert all(each and parse_job_record(each.data).closed for each in stored)
    print(f"{processes} processes: {commits / STEPS:.1f} commits a step")  # noqa: T201 -- -s
    assert commits <= most_commits * STEPS


def finalizer(documents: FirestoreDocuments, seed: int) -> Finalizer:
    """What a process needs in order to finalize."""
    return Finalizer(
        documents=documents,
        records=record_reader(documents),
        clock=CLOCK,
        random=Random(seed),
        run_locks=RunLocks(),
        keep_for=HOUR,
        prices={},
    )
