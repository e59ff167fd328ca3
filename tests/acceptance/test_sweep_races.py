"""Sweeps race with sweeps and dispatchers, on the official Firestore emulator."""

import asyncio
import io
import random
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from dispatcher.ports import DispatcherPorts, SweepPorts
from dispatcher.service import Dispatcher
from dispatcher.settings import DispatcherSettings, read_settings
from dispatcher.sweep import Sweep
from dispatcher.sweep_plan import RECOVERY_WAKES, SweepOutcome
from dispatcher.wiring import assemble, assemble_sweep
from infra.local.cloud.cloud_events import Document, document_event
from infra.local.embedded.queue import KeptMessages
from infra.local.emulators.clients import firestore_client
from shared.adapters.clock import SystemClock
from shared.adapters.firestore import FirestoreDocuments, FirestoreUnfinishedWork
from shared.domain.documents import Create, DocumentRef, Snapshot
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.job_documents import create_job, job_ref, parse_job_record
from shared.domain.jobs import JobRecord, JobState, Lease
from shared.domain.messages import decode_job_message
from shared.log import EventLogger
from tests.support.emulators import Emulators

pytestmark = pytest.mark.emulators

TIMEOUT = 60.0
SWEEPS = 32
RUNS, STEPS = 6, 3
LATE = timedelta(seconds=1)


def new_id() -> str:
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One project on the emulator, and what was published in it."""

    project: str
    client: Any
    queue: KeptMessages = field(default_factory=KeptMessages)
    clock: SystemClock = field(default_factory=SystemClock)

    @property
    def documents(self) -> FirestoreDocuments:
        """The documents of the project."""
        return FirestoreDocuments(self.client)

    def dispatcher(self) -> Dispatcher:
        """A dispatcher as the function makes it; jobs are kept, not delivered."""
        return assemble(
            DispatcherPorts(
                documents=self.documents,
                queue=self.queue,
                clock=self.clock,
                log=self.log,
                new_id=new_id,
            ),
            self.settings,
        )

    def sweep(self) -> Sweep:
        """A sweep as the function makes it."""
        return assemble_sweep(
            SweepPorts(
                documents=self.documents,
                work=FirestoreUnfinishedWork(self.client),
                queue=self.queue,
                clock=self.clock,
                log=self.log,
                new_id=new_id,
            ),
            self.settings,
        )

    @property
    def settings(self) -> DispatcherSettings:
        """The settings of both."""
        return read_settings({"GCP_PROJECT": self.project, "JOBS_TOPIC": "jobs"})

    @property
    def log(self) -> EventLogger:
        """A log that nobody reads."""
        stream = io.StringIO()
        return EventLogger(component="dispatcher", env="test", clock=self.clock, stream=stream)

    async def put_run(self, number: int, status: str) -> Snapshot:
        """A running run whose reports have this status."""
        ref = DocumentRef("flow_runs", f"20260105-09000{number}_BTCUSDT_abc")
        step = {"stepType": "LLM_REPORT", "status": status, "inputs": {}}
        data = {"status": "RUNNING", "steps": {f"s:{n}": dict(step) for n in range(STEPS)}}
        await self.documents.commit([Create(ref=ref, data=data)], timeout_seconds=TIMEOUT)
        return await self.read(ref)

    async def put_job(self, run: Snapshot, number: int, attempt: int) -> JobRecord:
        """Write the job of a RUNNING step whose last holder has died."""
        now = self.clock.now()
        record = JobRecord(
            run_id=RunId(run.ref.document_id),
            step_id=StepId(f"s:{number}"),
            claim_id=ClaimId(new_id()),
            event_id="event",
            claimed_at=now - timedelta(minutes=5),
            state=JobState.RUNNING,
            attempt=attempt,
            wakes=RECOVERY_WAKES,
            lease=Lease(owner="died", expires_at=now - LATE),
            wake_at=now - LATE,
        )
        await self.documents.commit([create_job(record)], timeout_seconds=TIMEOUT)
        return record

    async def read(self, ref: DocumentRef) -> Snapshot:
        """The document, which exists."""
        [found] = await self.documents.read([ref], timeout_seconds=TIMEOUT)
        assert found is not None
        return found

    def published(self) -> Counter[tuple[str, str]]:
        """How often each step's job was published."""
        messages = [decode_job_message(message.data) for message in self.queue.messages]
        return Counter((message.run_id, message.step_id) for message in messages)


@pytest.fixture
async def site(
    emulators: Emulators, project_id: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Site]:
    # With so many racers, some wait longer than production allows when the machine is busy.
    for module in ("dispatcher.sweep", "dispatcher.claiming"):
        monkeypatch.setattr(f"{module}.CALL_TIMEOUT_SECONDS", TIMEOUT)
    client: Any = firestore_client(emulators.firestore_host, project_id)
    yield Site(project=project_id, client=client)
    client.close()


async def test_of_many_sweeps_one_wakes_each_job_and_one_ends_each_spent_step(
    site: Site,
) -> None:
    waiting = await site.put_run(1, "RUNNING")
    spent = await site.put_run(2, "RUNNING")
    jobs = [await site.put_job(waiting, number, attempt=1) for number in range(STEPS)]
    for number in range(STEPS):
        await site.put_job(spent, number, attempt=5)

    reports = await asyncio.gather(*(site.sweep().run() for _ in range(SWEEPS)))

    assert sum(report.failed.total() for report in reports) == 0
    totals = sum((report.jobs for report in reports), Counter[SweepOutcome]())
    assert (totals[SweepOutcome.REPUBLISHED], totals[SweepOutcome.EXHAUSTED]) == (STEPS, STEPS)
    assert site.published() == {(job.run_id, job.step_id): 1 for job in jobs}
    steps = (await site.read(spent.ref)).data["steps"].values()
    assert {(step["status"], step["error"]["code"]) for step in steps} == {
        ("FAILED", "ATTEMPTS_EXHAUSTED")
    }


async def test_sweeps_and_dispatchers_side_by_side_claim_and_publish_each_step_once(
    site: Site,
) -> None:
    runs = [await site.put_run(number, "READY") for number in range(RUNS)]
    # Each event comes twice, as Eventarc may send it; half of the runs have no event.
    events = [_created(site.project, run) for run in runs[::2] for _ in range(2)]
    work: list[Coroutine[Any, Any, object]] = [site.sweep().run() for _ in range(SWEEPS)]
    work += [site.dispatcher().handle(*event) for event in events]
    random.shuffle(work)

    await asyncio.gather(*work)

    assert site.published() == {
        (run.ref.document_id, f"s:{number}"): 1 for run in runs for number in range(STEPS)
    }
    for run in runs:
        steps = (await site.read(run.ref)).data["steps"]
        assert {step["status"] for step in steps.values()} == {"RUNNING"}
        for step_id in steps:
            ref = job_ref(RunId(run.ref.document_id), StepId(step_id))
            record = parse_job_record((await site.read(ref)).data)
            assert (record.state, record.claim_number) == (JobState.QUEUED, 1)


def _created(project: str, run: Snapshot) -> tuple[dict[str, str], bytes]:
    """The attributes and data of the event of the run's creation."""
    document = Document(fields=dict(run.data), create_time=run.version, update_time=run.version)
    message = document_event(
        project=project,
        document_path=f"flow_runs/{run.ref.document_id}",
        old=None,
        new=document,
        event_id=new_id(),
        time=SystemClock().now(),
    )
    attributes = {name.removeprefix("ce-"): text for name, text in message.headers.items()}
    return attributes, message.body
