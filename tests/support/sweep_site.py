"""A sweep on embedded documents, and what goes wrong around it."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from dispatcher.ports import DispatcherPorts, SweepPorts
from dispatcher.service import Dispatcher
from dispatcher.settings import DispatcherSettings, read_settings
from dispatcher.sweep import Sweep
from dispatcher.wiring import assemble, assemble_sweep
from infra.local.embedded.documents import EmbeddedDocuments
from infra.local.embedded.queue import KeptMessages
from shared.domain.documents import Create, DocumentRef, Snapshot, Version, Write
from shared.domain.identifiers import RunId, StepId
from shared.domain.job_documents import COLLECTION, SHARD, job_ref, shard_of
from shared.domain.messages import JobMessage, OutgoingMessage, decode_job_message
from shared.log import EventLogger
from shared.ports import QueueUnavailable, StoreUnavailable

NOW = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
TIMEOUT = 1.0
ENVIRON = {"GCP_PROJECT": "p", "JOBS_TOPIC": "jobs", "SWEEP_PAGE_SIZE": "2"}


@dataclass(slots=True)
class StoppedClock:
    """Stands still but for what a test, or a call that takes long, adds."""

    moment: datetime = NOW
    seconds: float = 0.0

    def now(self) -> datetime:
        """The time of day."""
        return self.moment + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        """Seconds since the beginning of the test."""
        return self.seconds


class Documents(EmbeddedDocuments):
    """Loses answers, and does not answer for some documents."""

    def __init__(self, clock: StoppedClock) -> None:
        super().__init__()
        self.clock = clock
        self.lost_answers = 0
        self.unavailable: set[DocumentRef] = set()
        self.seconds_per_page = 0.0

    async def commit(self, writes: Sequence[Write], *, timeout_seconds: float) -> Version:
        """Fail for what is unavailable; lose the answer when told to."""
        if any(write.ref in self.unavailable for write in writes):
            raise StoreUnavailable("Unavailable")
        version = await super().commit(writes, timeout_seconds=timeout_seconds)
        if self.lost_answers:
            self.lost_answers -= 1
            raise StoreUnavailable("DeadlineExceeded")
        return version

    async def due_jobs(
        self,
        now: datetime,
        *,
        after: Snapshot | None,
        limit: int,
        timeout_seconds: float,
        heads: bool = False,
    ) -> Sequence[Snapshot]:
        """Take as long as told."""
        self.clock.seconds += self.seconds_per_page
        return await super().due_jobs(
            now, after=after, limit=limit, timeout_seconds=timeout_seconds, heads=heads
        )

    async def running_runs(
        self,
        collection: str,
        *,
        after: str | None,
        limit: int,
        timeout_seconds: float,
        heads: bool = False,
    ) -> Sequence[Snapshot]:
        """Take as long as told."""
        self.clock.seconds += self.seconds_per_page
        return await super().running_runs(
            collection, after=after, limit=limit, timeout_seconds=timeout_seconds, heads=heads
        )


@dataclass(slots=True)
class Queue(KeptMessages):
    """Refuses while told to."""

    refuses: bool = False

    async def publish(
        self, messages: Sequence[OutgoingMessage], *, timeout_seconds: float
    ) -> None:
        """Keep them, or refuse."""
        if self.refuses:
            raise QueueUnavailable("Unavailable")
        # Not super(): the decorator makes a new class, which is not the one in this body.
        await KeptMessages.publish(self, messages, timeout_seconds=timeout_seconds)


@dataclass(slots=True)
class Site:
    """One sweep's surroundings."""

    environ: dict[str, str] = field(default_factory=lambda: dict(ENVIRON))
    clock: StoppedClock = field(default_factory=StoppedClock)
    queue: Queue = field(default_factory=Queue)
    log: io.StringIO = field(default_factory=io.StringIO)
    documents: Documents = field(init=False)
    ids: int = 0

    def __post_init__(self) -> None:
        self.documents = Documents(self.clock)

    @property
    def settings(self) -> DispatcherSettings:
        """The settings in `environ`."""
        return read_settings(self.environ)

    def new_id(self) -> str:
        """An id that was not given before."""
        self.ids += 1
        return f"id-{self.ids}"

    def sweep(self) -> Sweep:
        """A sweep as the function makes it, with these surroundings."""
        logger = EventLogger(
            component="dispatcher", env="test", clock=self.clock, stream=self.log
        )
        return assemble_sweep(
            SweepPorts(
                documents=self.documents,
                work=self.documents,
                queue=self.queue,
                clock=self.clock,
                log=logger,
                new_id=self.new_id,
            ),
            self.settings,
        )

    def dispatcher(self) -> Dispatcher:
        """A dispatcher with these surroundings."""
        logger = EventLogger(
            component="dispatcher", env="test", clock=self.clock, stream=self.log
        )
        ports = DispatcherPorts(
            documents=self.documents,
            queue=self.queue,
            clock=self.clock,
            log=logger,
            new_id=self.new_id,
        )
        return assemble(ports, self.settings)

    async def put(self, ref: DocumentRef, data: dict[str, Any]) -> None:
        """Store a new document; a job record in its shard."""
        if ref.collection == COLLECTION:
            data = {SHARD: shard_of(ref.document_id), **data}
        await self.put_as_it_is(ref, data)

    async def put_as_it_is(self, ref: DocumentRef, data: dict[str, Any]) -> None:
        """Store a new document and add nothing."""
        await self.documents.commit([Create(ref=ref, data=data)], timeout_seconds=TIMEOUT)

    async def run(self, number: int, status: str, steps: int = 1) -> RunId:
        """A running run whose reports have this status."""
        run_id = RunId(f"20260105-09000{number}_BTCUSDT_abc")
        step = {"stepType": "LLM_REPORT", "status": status, "inputs": {}}
        data = {"status": "RUNNING", "steps": {f"s{n}": dict(step) for n in range(steps)}}
        await self.put(DocumentRef("flow_runs", run_id), data)
        return run_id

    async def job(self, run_id: RunId, step: int = 0, **fields: Any) -> None:
        """A job of the run's step that has been due for a second."""
        step_id = StepId(f"s{step}")
        data = {
            "runId": run_id,
            "stepId": step_id,
            "claimId": f"claim-{step}",
            "eventId": "event",
            "claimedAt": NOW - 130 * SECOND,
            "state": "QUEUED",
            "attempt": 0,
            "llmCalls": 0,
            "wakeAt": NOW - SECOND,
            **fields,
        }
        await self.put(job_ref(run_id, step_id), data)

    async def read(self, ref: DocumentRef) -> dict[str, Any]:
        """What the document holds; empty without one."""
        [found] = await self.documents.read([ref], timeout_seconds=TIMEOUT)
        return dict(found.data) if found else {}

    async def steps(self, run_id: RunId) -> list[str]:
        """The statuses of the run's steps, in the order of their ids."""
        run = await self.read(DocumentRef("flow_runs", run_id))
        return [step["status"] for _, step in sorted(run["steps"].items())]

    def published(self) -> list[JobMessage]:
        """The jobs that were published, in order."""
        return [decode_job_message(message.data) for message in self.queue.messages]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The log entries of this event."""
        entries = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [entry for entry in entries if entry["event"] == event]
