"""The sweep at work on embedded documents: what it finds, and what goes wrong meanwhile."""

import asyncio
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from dispatcher.settings import DispatcherSettings, SweepSettings, read_settings
from dispatcher.sweep import CURSOR, Sweep
from infra.local.embedded.documents import EmbeddedDocuments
from infra.local.embedded.queue import KeptMessages
from shared.domain.documents import Create, DocumentRef, Snapshot, Version, Write
from shared.domain.identifiers import RunId, StepId
from shared.domain.job_documents import COLLECTION, job_ref
from shared.domain.messages import JobMessage, OutgoingMessage, decode_job_message
from shared.events import EventLogger
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
        self, now: datetime, *, after: Snapshot | None, limit: int, timeout_seconds: float
    ) -> Sequence[Snapshot]:
        """Take as long as told."""
        self.clock.seconds += self.seconds_per_page
        return await super().due_jobs(
            now, after=after, limit=limit, timeout_seconds=timeout_seconds
        )

    async def running_runs(
        self, collection: str, *, after: str | None, limit: int, timeout_seconds: float
    ) -> Sequence[Snapshot]:
        """Take as long as told."""
        self.clock.seconds += self.seconds_per_page
        return await super().running_runs(
            collection, after=after, limit=limit, timeout_seconds=timeout_seconds
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
        # Not super(): a slotted dataclass is another class than the one in this body.
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
        return Sweep(
            documents=self.documents,
            work=self.documents,
            queue=self.queue,
            clock=self.clock,
            log=logger,
            settings=self.settings,
            new_id=self.new_id,
        )

    async def put(self, ref: DocumentRef, data: dict[str, Any]) -> None:
        """Store a new document."""
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
        """The statuses of the run's steps."""
        run = await self.read(DocumentRef("flow_runs", run_id))
        return [step["status"] for step in run["steps"].values()]

    def published(self) -> list[JobMessage]:
        """The jobs that were published, in order."""
        return [decode_job_message(message.data) for message in self.queue.messages]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The log entries of this event."""
        entries = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [entry for entry in entries if entry["event"] == event]


async def test_jobs_on_many_pages_are_each_published_once_and_moved_forward() -> None:
    site = Site()
    for number in range(5):
        await site.job(await site.run(number, "RUNNING"))

    report = await site.sweep().run()

    assert report.finished
    assert report.as_json()["republished"] == 5
    assert len({message.run_id for message in site.published()}) == 5
    assert len(site.published()) == 5
    again = await site.sweep().run()
    assert again.as_json()["republished"] == 0
    assert len(site.published()) == 5


async def test_the_summary_is_logged_with_its_counts() -> None:
    site = Site()
    await site.job(await site.run(1, "RUNNING"))
    await site.run(2, "READY", steps=2)

    await site.sweep().run()

    [summary] = site.logged("sweep_finished")
    assert summary["severity"] == "INFO"
    counts = {name: summary[name] for name in ("republished", "runs", "claimed", "complete")}
    assert counts == {"republished": 1, "runs": 2, "claimed": 2, "complete": True}


async def test_a_ready_step_whose_event_was_lost_is_claimed_and_published() -> None:
    site = Site()
    run_id = await site.run(1, "READY", steps=3)

    report = await site.sweep().run()

    assert (report.claimed, await site.steps(run_id)) == (3, ["RUNNING"] * 3)
    assert sorted(message.step_id for message in site.published()) == ["s0", "s1", "s2"]
    job = await site.read(job_ref(run_id, StepId("s0")))
    assert (job["state"], job["eventId"].startswith("sweep-")) == ("QUEUED", True)


async def test_all_spent_steps_of_one_run_end_in_one_sweep() -> None:
    site = Site(environ={**ENVIRON, "SWEEP_PAGE_SIZE": "20"})
    run_id = await site.run(1, "RUNNING", steps=8)
    for step in range(8):
        await site.job(run_id, step, attempt=5, wakes=2, state="RUNNING")

    report = await site.sweep().run()

    assert report.as_json()["exhausted"] == 8
    assert await site.steps(run_id) == ["FAILED"] * 8
    assert len(site.logged("step_failed")) == 8
    assert site.queue.messages == []


async def test_a_job_of_a_cancelled_step_is_abandoned_and_its_step_left_alone() -> None:
    site = Site()
    run_id = await site.run(1, "CANCELLED")
    await site.job(run_id)
    before = await site.read(DocumentRef("flow_runs", run_id))

    report = await site.sweep().run()

    assert report.as_json()["abandoned"] == 1
    assert (await site.read(job_ref(run_id, StepId("s0"))))["state"] == "ABANDONED"
    assert await site.read(DocumentRef("flow_runs", run_id)) == before


async def test_a_commit_whose_answer_was_lost_is_known_to_be_ours_and_published() -> None:
    site = Site()
    await site.job(await site.run(1, "RUNNING"))
    sweep = site.sweep()
    site.documents.lost_answers = 1

    report = await sweep.run()

    assert report.finished
    assert len(site.published()) == 1


async def test_one_job_that_cannot_be_written_does_not_stop_the_others() -> None:
    site = Site()
    runs = [await site.run(number, "RUNNING") for number in range(3)]
    for run_id in runs:
        await site.job(run_id)
    site.documents.unavailable.add(job_ref(runs[0], StepId("s0")))

    report = await site.sweep().run()

    assert [message.run_id for message in site.published()] == runs[1:]
    assert not report.finished
    assert report.failed == {"StoreUnavailable": 1}
    assert report.failed_documents == [f"{runs[0]}~s0"]


async def test_a_record_that_is_not_ours_is_named_and_does_not_stop_the_others() -> None:
    site = Site()
    await site.put(DocumentRef(COLLECTION, "x~y"), {"wakeAt": NOW - 9 * SECOND})
    await site.job(await site.run(1, "RUNNING"))

    report = await site.sweep().run()

    assert report.failed == {"JobRecordInvalid": 1}
    assert len(site.published()) == 1


async def test_a_queue_that_refuses_leaves_the_jobs_to_a_later_sweep() -> None:
    site = Site()
    run_id = await site.run(1, "RUNNING")
    await site.job(run_id)
    site.queue.refuses = True

    assert (await site.sweep().run()).failed == {"QueueUnavailable": 1}
    site.queue.refuses = False
    site.clock.seconds += 600

    assert (await site.sweep().run()).finished
    assert len(site.published()) == 1


async def test_a_sweep_cut_short_says_so_and_the_next_one_goes_on_behind_it() -> None:
    site = Site(environ={**ENVIRON, "SWEEP_BUDGET_SECONDS": "5"})
    runs = [await site.run(number, "READY") for number in range(5)]
    site.documents.seconds_per_page = 2.0

    first = await site.sweep().run()
    claimed = [status for run in runs for status in await site.steps(run)]
    # The runs before the cursor are not looked at again, although one needs it by now.
    assert not first.finished
    assert not first.complete
    assert claimed == ["RUNNING"] * 4 + ["READY"]
    assert await site.read(CURSOR) == {"after": runs[3]}

    second = await site.sweep().run()

    assert second.finished
    assert (second.runs, second.claimed) == (1, 1)
    assert (await site.read(CURSOR))["after"] is None


async def test_a_sweep_that_reaches_its_bound_of_pages_says_so() -> None:
    site = Site(environ={**ENVIRON, "SWEEP_MAX_PAGES": "1"})
    for number in range(3):
        await site.job(await site.run(number, "RUNNING"))

    assert not (await site.sweep().run()).complete
    assert len(site.published()) == 2


async def test_a_run_that_breaks_the_contract_is_told_so_once_and_stops_no_other() -> None:
    site, broken = Site(), DocumentRef("flow_runs", "no-run-id")
    await site.put(broken, {"status": "RUNNING"})
    await site.run(1, "READY")

    reports = [await site.sweep().run() for _ in range(2)]

    assert [(report.finished, report.runs) for report in reports] == [(True, 2)] * 2
    assert reports[0].claimed == 1
    assert (await site.read(broken))["error"]["code"] == "FLOW_RUN_INVALID"
    assert len(site.logged("cloud_event_ignored")) == 1


async def test_however_many_jobs_are_due_the_runs_have_their_turn() -> None:
    site = Site(environ={**ENVIRON, "SWEEP_BUDGET_SECONDS": "8"})
    for number in range(9):
        await site.job(await site.run(number, "RUNNING"))
    lost = RunId("20260105-080000_BTCUSDT_abc")
    step = {"stepType": "LLM_REPORT", "status": "READY", "inputs": {}}
    await site.put(DocumentRef("flow_runs", lost), {"status": "RUNNING", "steps": {"s0": step}})
    site.documents.seconds_per_page = 2.0

    report = await site.sweep().run()

    assert not report.complete
    assert report.as_json()["republished"] == 4
    assert await site.steps(lost) == ["RUNNING"]


async def test_sweeps_side_by_side_publish_each_job_once() -> None:
    site = Site()
    for number in range(5):
        await site.job(await site.run(number, "RUNNING"))
    ready = await site.run(9, "READY", steps=2)

    reports = await asyncio.gather(*(site.sweep().run() for _ in range(8)))

    assert all(report.finished for report in reports)
    published = [(message.run_id, message.step_id) for message in site.published()]
    assert len(published) == len(set(published)) == 7
    assert await site.steps(ready) == ["RUNNING"] * 2


def test_the_bounds_are_settings() -> None:
    bounds = {"SWEEP_BUDGET_SECONDS": "9", "SWEEP_MAX_PAGES": "8", "MAX_ATTEMPTS": "7"}

    assert read_settings({**ENVIRON, **bounds}).sweep == SweepSettings(
        max_attempts=7, budget_seconds=9, page_size=2, max_pages=8
    )
