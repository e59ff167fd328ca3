"""The executor as a real process of the functions framework, ended in the middle of a call.

Cloud Run sends SIGTERM to the container's first process and gives the instance ten seconds
(https://cloud.google.com/run/docs/container-contract#instance-shutdown).
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from infra.local.emulators.clients import firestore_client
from infra.local.gemini import create_app as create_gemini
from infra.local.gemini.faults import FaultKind, FaultRule
from infra.local.processes.children import ChildProcess
from infra.local.processes.functions import (
    BUCKET,
    LocalAddresses,
    process_environ,
    start_function,
)
from infra.local.scenario.single import single_report_run
from infra.local.serving.asgi import serve
from infra.local.storage.objects import ObjectFolder
from infra.local.storage.server import create_app as create_storage
from shared.adapters.firestore import FirestoreDocuments
from shared.domain.documents import Create, DocumentRef
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.job_documents import create_job, job_ref, parse_job_record
from shared.domain.jobs import JobRecord, JobState
from shared.domain.messages import JobMessage
from tests.support.emulators import Emulators
from tests.support.worker import publish_registry, push

pytestmark = [pytest.mark.emulators, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
RUN_ID, STEP_ID = RunId("20260105-090000_BTCUSD_stop"), StepId("llm_report_1d")
CLAIM = ClaimId("c1")
#: How long a loaded machine may need; on an idle one the whole test takes a few seconds.
PATIENCE_SECONDS = 120.0
POLL_SECONDS = 0.05
#: Much longer than the test: a call that ended sooner was ended by the signal.
FOREVER = {
    "GEMINI_TIMEOUT_SECONDS": "900",
    "INVOCATION_TIMEOUT_SECONDS": "1000",
    "LEASE_SECONDS": "600",
}
MODES = ("generate_content", "interactions")
UNANSWERED = FaultRule(kind=FaultKind.HANG)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A running executor with one job to do."""

    process: ChildProcess
    url: str
    documents: FirestoreDocuments
    gemini: Starlette

    async def push(self) -> int:
        body = push(JobMessage(run_id=RUN_ID, step_id=STEP_ID, claim_id=CLAIM).encode())
        async with httpx2.AsyncClient(trust_env=False, timeout=PATIENCE_SECONDS) as client:
            return (await client.post(self.url, content=body)).status_code

    async def calling(self) -> None:
        """Wait until the model was asked."""
        for _ in range(round(PATIENCE_SECONDS / POLL_SECONDS)):
            asked = self.gemini.state.calls.received.total() > 0
            kept = len(self.gemini.state.interactions.kept) > 0
            if asked and (not kept or (await self.record()).interaction is not None):
                return
            await asyncio.sleep(POLL_SECONDS)
        raise AssertionError("the model was not asked")

    async def pushed_until_closed(self) -> JobRecord:
        """Push as Pub/Sub does; the lease of the dead process has to expire first."""
        for _ in range(round(PATIENCE_SECONDS)):
            await self.push()
            record = await self.record()
            if record.closed:
                return record
            await asyncio.sleep(1)
        raise AssertionError("the job was not closed")

    async def record(self) -> JobRecord:
        [found] = await self.documents.read([job_ref(RUN_ID, STEP_ID)], timeout_seconds=60)
        assert found is not None
        return parse_job_record(found.data)


@asynccontextmanager
async def instance(
    emulators: Emulators,
    project: str,
    folder: Path,
    environ: Mapping[str, str],
    *rules: FaultRule,
) -> AsyncIterator[Instance]:
    gemini = create_gemini(latency_seconds=0, faults=rules)
    objects = ObjectFolder(folder / "objects")
    objects.create_bucket(BUCKET)
    client: Any = firestore_client(emulators.firestore_host, project)
    documents = FirestoreDocuments(client)
    await seed(documents, objects)
    async with (
        serve(gemini, name="Gemini stand-in") as gemini_url,
        serve(create_storage(objects), name="storage") as storage_url,
    ):
        addresses = LocalAddresses(
            firestore_host=emulators.firestore_host,
            pubsub_host=emulators.pubsub_host,
            storage_url=storage_url,
            gemini_url=gemini_url,
        )
        process, url = await start_function(
            "executor",
            environ={**process_environ(os.environ, project, addresses), **environ},
            sources=ROOT,
            bundles=folder / "bundles",
            log_folder=folder / "logs",
        )
        try:
            yield Instance(process=process, url=url, documents=documents, gemini=gemini)
        finally:
            await process.stop()
            client.close()


async def seed(documents: FirestoreDocuments, objects: ObjectFolder) -> None:
    """Store a run whose one report was claimed and published."""
    run, sources = single_report_run(bucket=BUCKET, run_id=RUN_ID, step_id=STEP_ID)
    run["steps"][STEP_ID]["status"] = "RUNNING"
    for source in sources:
        objects.write(source.bucket, source.name, source.data, content_type=source.content_type)
    await publish_registry(documents)
    now = datetime.now(UTC)  # noqa: TID251 - the function runs on this machine's time
    job = JobRecord(
        run_id=RUN_ID,
        step_id=STEP_ID,
        claim_id=CLAIM,
        event_id="e1",
        claimed_at=now,
        state=JobState.QUEUED,
        wake_at=now + timedelta(hours=1),
    )
    claimed = [Create(ref=DocumentRef("flow_runs", RUN_ID), data=run), create_job(job)]
    await documents.commit(claimed, timeout_seconds=60)


@pytest.mark.parametrize("mode", MODES)
async def test_an_instance_that_is_stopped_during_its_call_gives_the_job_back_at_once(
    emulators: Emulators, project_id: str, tmp_path: Path, mode: str
) -> None:
    environ = {**FOREVER, "GEMINI_API": mode}
    async with (
        asyncio.timeout(PATIENCE_SECONDS),
        instance(emulators, project_id, tmp_path, environ, UNANSWERED) as executor,
    ):
        pushing = asyncio.create_task(executor.push())
        await executor.calling()
        # As in Cloud Run, the signal goes only to the first process, which must itself care for
        # what it started.
        os.kill(executor.process.pid, signal.SIGTERM)
        status = await pushing
        code = await executor.process.wait()
        record = await executor.record()

    assert status == 503
    assert code == 0
    assert (record.state, record.lease, record.attempt) == (JobState.QUEUED, None, 1)
    assert record.not_before == record.history[0].ended_at
    assert record.interaction is None


async def test_a_call_whose_instance_was_killed_is_fetched_by_the_next_and_paid_once(
    emulators: Emulators, project_id: str, tmp_path: Path
) -> None:
    environ = {**FOREVER, "GEMINI_API": "interactions"}
    async with (
        asyncio.timeout(2 * PATIENCE_SECONDS),
        instance(emulators, project_id, tmp_path, environ) as executor,
    ):
        executor.gemini.state.interactions.latency_seconds = 100_000
        status = await executor.push()
        begun = await executor.record()
        await executor.process.kill()
        [kept] = executor.gemini.state.interactions.kept.values()
        kept.work.ends_at = 0
        await executor.process.start()
        record = await executor.pushed_until_closed()

    assert status == 204
    assert (begun.lease, begun.interaction is not None) == (None, True)
    assert (record.state, record.attempt, record.llm_calls) == (JobState.SUCCEEDED, 1, 1)
    assert executor.gemini.state.calls.received.total() == 1
    assert executor.gemini.state.interactions.kept == {}
