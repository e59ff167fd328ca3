"""A job under a lease in virtual time, on documents that fail as told."""

import asyncio
import io
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, TypeVar

from executor.billing.limits import CallLimits
from executor.contract.profile import parse_profile
from executor.jobs.deadline import Deadline
from executor.jobs.invocation import Invocation
from executor.jobs.lease import HeldJob
from executor.jobs.records import RecordReader
from executor.model_calls.pacing import Pacing
from executor.model_calls.tiers import TierPolicy
from executor.ports import ModelRequest
from executor.settings import ExecutorSettings
from infra.local.embedded.documents import EmbeddedDocuments
from shared.domain.documents import Create, DocumentRef, Snapshot, Update, Version, Write
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.job_documents import create_job, job_ref, parse_job_record, update_job
from shared.domain.jobs import JobRecord, JobState
from shared.log import EventLogger, Severity
from shared.ports import Clock, DocumentStore, StoreRefused, StoreUnavailable
from tests.simulation.loop import make_loop

_T = TypeVar("_T")

START = datetime(2026, 1, 5, 9, tzinfo=UTC)
LEASE = timedelta(seconds=60)
RENEW = timedelta(seconds=20)
RUN_ID, STEP_ID = RunId("20260105-090000_BTCUSD_held"), StepId("llm_report_1d")
RUN = DocumentRef("flow_runs", RUN_ID)
JOB = job_ref(RUN_ID, STEP_ID)
_TIMEOUT_SECONDS = 10.0


REQUEST = ModelRequest(
    profile=parse_profile({"modelName": "gemini-3.5-flash", "jsonSchema": {}}),
    system_instruction="",
    user_text="text",
    images=[],
    json_schema={},
)


class VirtualClock:
    """The running loop's time, which passes only while everybody waits."""

    def now(self) -> datetime:
        """See the port."""
        return START + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        """See the port."""
        return asyncio.get_running_loop().time()


def virtually(work: Coroutine[Any, Any, _T]) -> _T:
    """Run to the end without waiting for anything."""
    loop = make_loop(Random(0))
    task = loop.create_task(work)
    try:
        loop.run(task.done)
        assert task.done(), "it waits for something that never comes"
        return task.result()
    finally:
        loop.close()


@dataclass(slots=True, kw_only=True)
class Documents:
    """Embedded documents; what is in `faults` befalls the next commits, one each."""

    inner: EmbeddedDocuments = field(default_factory=EmbeddedDocuments)
    #: `lost`: applied, and the answer is lost. `down`: not applied. `hang`: no answer at all.
    #: `slow`: applied, after nine seconds. `refused`: for good. `silent`: applied, and no
    #: answer. `late`: not answered, and applied just before the commit that follows.
    faults: list[str] = field(default_factory=list)
    _under_way: list[Sequence[Write]] = field(default_factory=list)
    down_reads: int = 0
    reads: int = 0
    #: No run has room for anything.
    unfit_runs: bool = False
    commits: int = 0

    async def read(
        self, refs: Sequence[DocumentRef], *, timeout_seconds: float
    ) -> Sequence[Snapshot | None]:
        """See the port."""
        self.reads += 1
        if self.down_reads:
            self.down_reads -= 1
            raise StoreUnavailable("as told")
        return await self.inner.read(refs, timeout_seconds=timeout_seconds)

    async def commit(self, writes: Sequence[Write], *, timeout_seconds: float) -> Version:
        """See the port."""
        self.commits += 1
        for earlier in self._under_way:
            await self.inner.commit(earlier, timeout_seconds=timeout_seconds)
        self._under_way.clear()
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "late":
            self._under_way.append(writes)
            await asyncio.sleep(1)
            raise StoreUnavailable("as told")
        if fault == "hang":
            await asyncio.sleep(10_000)
        if fault == "slow":
            await asyncio.sleep(9)
        if fault == "down":
            raise StoreUnavailable("as told")
        if fault == "refused":
            raise StoreRefused("PERMISSION_DENIED")
        if self.unfit_runs and any(write.ref == RUN for write in writes):
            raise StoreRefused("INVALID_ARGUMENT: too large", unfit=True)
        version = await self.inner.commit(writes, timeout_seconds=timeout_seconds)
        if fault == "lost":
            raise StoreUnavailable("as told")
        if fault == "silent":
            await asyncio.sleep(10_000)
        return version

    async def stored(self) -> JobRecord:
        """The job record as it stands."""
        [found] = await self.inner.read([JOB], timeout_seconds=_TIMEOUT_SECONDS)
        assert found is not None
        return parse_job_record(found.data)

    async def change(self, change: Callable[[JobRecord], JobRecord]) -> None:
        """Change the record behind the holder's back."""
        [found] = await self.inner.read([JOB], timeout_seconds=_TIMEOUT_SECONDS)
        assert found is not None
        write: Update = update_job(change(parse_job_record(found.data)), found.version)
        await self.inner.commit([write], timeout_seconds=_TIMEOUT_SECONDS)

    async def stolen(self) -> None:
        """Let another holder take the lease."""
        await self.change(
            lambda job: job.take_lease(owner="thief", now=VirtualClock().now(), lease_for=LEASE)
        )


def queued() -> JobRecord:
    """A job that was claimed and published."""
    return JobRecord(
        run_id=RUN_ID,
        step_id=STEP_ID,
        claim_id=ClaimId("c1"),
        event_id="e1",
        claimed_at=START,
        state=JobState.QUEUED,
        wake_at=START + LEASE,
    )


async def held(
    documents: Documents,
    record: JobRecord | None = None,
    *,
    reserve_call: bool = False,
    clock: Clock | None = None,
) -> HeldJob:
    """The job, stored and then leased."""
    record = record or queued()
    version = await documents.inner.commit(
        [create_job(record)], timeout_seconds=_TIMEOUT_SECONDS
    )
    job = HeldJob(
        documents=documents,
        clock=clock or VirtualClock(),
        record=record,
        version=version,
        owner="us",
        lease_for=LEASE,
        random=Random(0),
    )
    await job.acquire(reserve_call=reserve_call)
    return job


def record_reader(documents: DocumentStore) -> RecordReader:
    """A reader of the collections with their usual names."""
    return RecordReader(
        documents=documents,
        flow_runs=RUN.collection,
        prompts="llm_prompts",
        schemas="llm_schemas",
        places=lambda model: [f"{model}@ai_studio"],
    )


def pacing(documents: DocumentStore, *, limits: CallLimits | None = None) -> Pacing:
    """The paces of an executor in virtual time."""
    return Pacing(
        documents=documents,
        clock=VirtualClock(),
        random=Random(0),
        endpoint="ai_studio",
        limits=limits or {},
        patience=timedelta(hours=6),
    )


def tier_policy(settings: ExecutorSettings) -> TierPolicy:
    """What chooses the tiers of an executor with these settings."""
    return TierPolicy(gemini=settings.gemini, call_policy=settings.call_policy)


async def stored_run(documents: Documents, run: dict[str, Any] | None = None) -> Snapshot:
    """A run whose one step is RUNNING."""
    data = run or {
        "status": "RUNNING",
        "steps": {STEP_ID: {"stepType": "LLM_REPORT", "status": "RUNNING", "outputs": {}}},
    }
    await documents.inner.commit([Create(ref=RUN, data=data)], timeout_seconds=_TIMEOUT_SECONDS)
    [found] = await documents.inner.read([RUN], timeout_seconds=_TIMEOUT_SECONDS)
    assert found is not None
    return found


def logger(stream: io.StringIO | None = None) -> EventLogger:
    """A log that a test may look at."""
    return EventLogger(
        component="executor",
        env="test",
        clock=VirtualClock(),
        threshold=Severity.DEBUG,
        stream=stream or io.StringIO(),
    )


def invocation(
    job: HeldJob,
    *,
    run: Snapshot | None = None,
    seconds: float = 540,
    reserve_seconds: float = 60,
    log: EventLogger | None = None,
) -> Invocation:
    """An invocation that begins now and must end in so many seconds."""
    clock = VirtualClock()
    return Invocation(
        run=run or Snapshot(ref=RUN, data={}, version=Version(0)),
        registry={},
        held=job,
        started=clock.monotonic(),
        deadline=Deadline(
            clock=clock,
            ends_at=clock.monotonic() + seconds,
            reserve_seconds=reserve_seconds,
        ),
        log=log or logger(),
    )
