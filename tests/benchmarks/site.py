"""Jobs for an executor that runs in the measuring process, against services in another."""

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx2

from infra.local.embedded.queue import QueuedMessage, push_body
from infra.local.processes.bundle import REPOSITORY
from infra.local.processes.functions import BUCKET, function_environ
from infra.local.scenario.prompts import prompt_documents
from infra.local.scenario.schemas import schema_documents
from infra.local.scenario.single import single_report_run
from shared.adapters.clock import SystemClock
from shared.domain.documents import Create, DocumentRef
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.job_documents import create_job
from shared.domain.jobs import JobRecord, JobState
from shared.domain.messages import JobMessage
from shared.ports import DocumentStore

STEP_ID = StepId("report")
_SECONDS = 60.0
_MINUTE = timedelta(minutes=1)
_BATCH = 100


@contextmanager
def services(latency_seconds: float) -> Iterator[Mapping[str, str]]:
    """Run the services, and have this process's clients find them, while the block lasts."""
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.site_process", str(latency_seconds)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None and child.stdout is not None  # noqa: PT018 -- pipes
    try:
        addresses = json.loads(child.stdout.readline())
        project = f"bench-{uuid.uuid4().hex[:8]}"
        settings = function_environ(project, addresses["GEMINI_BASE_URL"])
        os.environ.update({**settings, **addresses, "LOG_LEVEL": "INFO"})
        os.environ["GOOGLE_CLOUD_PROJECT"] = project
        yield addresses
    finally:
        child.stdin.close()
        child.wait(timeout=_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Jobs:
    """Makes claimed jobs, as the dispatcher leaves them."""

    documents: DocumentStore
    storage_url: str

    async def prepare(self) -> None:
        """Store prompts, schemas and the objects that all jobs read."""
        registry = [("llm_prompts", prompt_documents()), ("llm_schemas", schema_documents())]
        await self.documents.commit(
            [
                Create(ref=DocumentRef(collection, name), data=data)
                for collection, documents in registry
                for name, data in documents.items()
            ],
            timeout_seconds=_SECONDS,
        )
        _, objects = _run("20260105-090000_BTCUSD_shared")
        async with httpx2.AsyncClient(trust_env=False) as client:
            for item in objects:
                answer = await client.post(
                    f"{self.storage_url}/upload/storage/v1/b/{BUCKET}/o",
                    params={"uploadType": "media", "name": item.name},
                    content=item.data,
                    headers={"content-type": item.content_type},
                )
                answer.raise_for_status()

    async def claimed(self, numbers: range) -> list[bytes]:
        """So many claimed jobs; the push requests that wake an executor for them."""
        bodies: list[bytes] = []
        for start in range(0, len(numbers), _BATCH):
            writes, pushes = [], []
            for number in numbers[start : start + _BATCH]:
                made, push = _job(number)
                writes += made
                pushes.append(push)
            await self.documents.commit(writes, timeout_seconds=_SECONDS)
            bodies += pushes
        return bodies


def _job(number: int) -> tuple[list[Create], bytes]:
    run_id = RunId(f"20260105-090000_BTCUSD_{number:06x}")
    run, _ = _run("20260105-090000_BTCUSD_shared")
    run["runId"] = run_id
    step = run["steps"][STEP_ID]
    step["status"] = "RUNNING"
    now = SystemClock().now()
    record = JobRecord(
        run_id=run_id,
        step_id=STEP_ID,
        claim_id=ClaimId(uuid.uuid4().hex),
        event_id="bench",
        claimed_at=now,
        state=JobState.QUEUED,
        wake_at=now + _MINUTE,
    )
    llm = step["inputs"]["llm"]
    message = JobMessage(
        run_id=run_id,
        step_id=STEP_ID,
        claim_id=record.claim_id,
        prompt_id=llm["promptId"],
        schema_id=llm["llmProfile"]["structuredOutput"]["schemaId"],
    )
    queued = QueuedMessage(
        message_id=str(number), published_at="2026-01-05T09:00:00Z", content=message.encode()
    )
    writes = [Create(ref=DocumentRef("flow_runs", run_id), data=run), create_job(record)]
    return writes, push_body(queued, "projects/bench/subscriptions/jobs", 1)


def _run(run_id: str) -> tuple[dict[str, Any], Any]:
    run, objects = single_report_run(bucket=BUCKET, run_id=run_id, step_id=STEP_ID)
    return dict(run), objects


async def model_calls(gemini_url: str) -> int:
    """Requests that the stand-in has got so far."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        counts = (await client.get(f"{gemini_url}/control/requests")).json()
    return int(sum(counts["received"].values()))


async def in_flight(bodies: list[bytes], handle: Any, limit: int) -> None:
    """Handle all pushes, at most so many at a time; each must be acknowledged."""
    waiting = iter(bodies)

    async def work() -> None:
        for body in waiting:
            status = await handle(body)
            assert status == 204, status

    await asyncio.gather(*(work() for _ in range(limit)))
