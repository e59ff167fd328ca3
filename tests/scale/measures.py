"""What is counted: steady loads, many runs, many due jobs, and many ends in one run."""

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from shared.domain.documents import Create, DocumentRef
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.job_documents import create_job
from shared.domain.jobs import JobRecord, JobState
from shared.domain.messages import OutgoingMessage
from tests.scale.counts import Counts
from tests.scale.site import STEPS_OF_A_RUN, Site
from tests.simulation.process import EPOCH
from tests.simulation.scenarios import Report, run_document
from tests.simulation.simulate import SWEEP_SECONDS

#: For sites with tens of thousands of runs: see docs/explanation/scale.md.
LARGE = {"SWEEP_PAGE_SIZE": "100", "SWEEP_MAX_PAGES": "1000"}
_SETTLING_SECONDS = 120.0
#: Virtual ones: a minute of a thousand steps a second takes minutes of real time.
_TOLD_EVERY_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A steady load, and the calls and writes that it took."""

    steps_a_second: int
    seconds: int
    steps: int
    counts: Counts

    def as_json(self) -> dict[str, object]:
        """The figures."""
        counts = self.counts
        return {
            "stepsASecond": self.steps_a_second,
            "virtualSeconds": self.seconds,
            "steps": self.steps,
            "ended": counts.ended,
            "firestoreCallsAStep": round(counts.calls_of_a_step(), 2),
            "messagesAStep": round(counts.messages / max(1, self.steps), 2),
            "busiestRun": counts.busiest("flow_runs"),
            "busiestJob": counts.busiest("llm_jobs"),
            "busiestCursor": counts.busiest("llm_sweeps"),
            "indexWritesASecond": counts.index_rates(),
            "p99ReadyToLeaseSeconds": round(counts.p99_wait(), 2),
        }


def load(steps_a_second: int, seconds: int) -> Load:
    """Run this many steps a second for this long, with a sweep every minute."""
    site = Site(instances=max(2, steps_a_second // 4))
    runs = steps_a_second * seconds // STEPS_OF_A_RUN

    async def create() -> None:
        for number in range(runs):
            at = number * STEPS_OF_A_RUN / steps_a_second
            await asyncio.sleep(max(0.0, at - site.loop.time()))
            site.create_run(number)

    async def tell() -> None:
        while True:
            await asyncio.sleep(_TOLD_EVERY_SECONDS)
            sys.stderr.write(
                f"{steps_a_second} steps a second: {site.counts.ended} steps ended"
                f" after {site.loop.time():.0f} of {seconds} virtual seconds\n"
            )

    site.start(create())
    site.start(tell())
    site.sweep_for_ever()
    steps = runs * STEPS_OF_A_RUN
    ends_at = seconds + _SETTLING_SECONDS
    site.run(lambda: site.counts.ended >= steps or site.loop.time() > ends_at)
    return Load(steps_a_second=steps_a_second, seconds=seconds, steps=steps, counts=site.counts)


@dataclass(slots=True)
class _Sink:
    """A topic whose messages nobody takes."""

    jobs: set[str] = field(default_factory=set)

    def take(self, messages: Sequence[OutgoingMessage]) -> None:
        """Store messages."""
        for message in messages:
            self.jobs.add(f"{message.attributes['runId']}~{message.attributes['stepId']}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """What the sweeping took."""

    documents: int
    sweeps: int
    longest_seconds: float
    most_messages: int
    all_reached: bool
    busiest_cursor: float

    def as_json(self) -> dict[str, object]:
        """The figures."""
        return {
            "documents": self.documents,
            "sweeps": self.sweeps,
            "longestSweepSeconds": round(self.longest_seconds, 1),
            "mostMessagesOfASweep": self.most_messages,
            "allReached": self.all_reached,
            "busiestCursor": self.busiest_cursor,
        }


def sweep_runs(runs: int) -> Swept:
    """Sweep once through this many RUNNING runs, in which there is nothing to do."""
    site = _without_events()
    for number in range(runs):
        run_id = f"20260105-090000_BTCUSDT_{number:06x}"
        report = Report(step_id="report", status="PENDING")
        _create(site, DocumentRef("flow_runs", run_id), run_document(run_id, [report]))
    return _sweep(site, runs, most=1, done=lambda: not any(_cursors(site)))


def sweep_due(jobs: int, *, most: int) -> Swept:
    """Sweep until each of this many due jobs was published once."""
    site, sink = _without_events(), _Sink()
    site.deployment.topic = sink  # type: ignore[assignment]
    for number in range(jobs // STEPS_OF_A_RUN):
        run_id = f"20260105-090000_BTCUSDT_{number:06x}"
        reports = [
            Report(step_id=f"report_{step}", status="RUNNING") for step in range(STEPS_OF_A_RUN)
        ]
        _create(site, DocumentRef("flow_runs", run_id), run_document(run_id, reports))
        for report in reports:
            record = JobRecord(
                run_id=RunId(run_id),
                step_id=StepId(report.step_id),
                claim_id=ClaimId("claim"),
                event_id="event",
                claimed_at=EPOCH - timedelta(hours=1),
                state=JobState.QUEUED,
                wake_at=EPOCH - timedelta(minutes=59),
            )
            site.records.create(create_job(record))
    return _sweep(site, jobs, most=most, done=lambda: len(sink.jobs) == jobs)


def _without_events() -> Site:
    site = Site(instances=1, environ=LARGE)
    site.records._readers.remove(site.trigger)
    return site


def _create(site: Site, ref: DocumentRef, data: dict[str, object]) -> None:
    site.records.create(Create(ref=ref, data=data))


def _cursors(site: Site) -> Sequence[object]:
    """How far the sweep is in each collection; None where it has come to the end."""
    return [found.data.get("after") for found in site.documents.snapshots("llm_sweeps")]


def _sweep(site: Site, documents: int, *, most: int, done: Callable[[], bool]) -> Swept:
    over: list[bool] = []

    async def sweep() -> None:
        for _ in range(most):
            await site.sweep_once()
            if done():
                break
            await asyncio.sleep(max(0.0, SWEEP_SECONDS - site.turns[-1].seconds))
        over.append(True)

    site.start(sweep())
    site.run(lambda: bool(over))
    return Swept(
        documents=documents,
        sweeps=len(site.turns),
        longest_seconds=max(turn.seconds for turn in site.turns),
        most_messages=max(turn.messages for turn in site.turns),
        all_reached=done(),
        busiest_cursor=site.counts.busiest("llm_sweeps"),
    )


def ended_run(steps: int) -> Site:
    """A run whose steps all end at the same moment, each in its own process."""
    site = Site(instances=4 * steps, model_seconds=(15.0, 15.0))
    site.create_run(0, steps)
    site.run(lambda: site.counts.ended >= steps or site.loop.time() > _SETTLING_SECONDS)
    return site


def ends_of_one_run(steps: int) -> float:
    """Commits per step when this many steps of one run end at the same moment."""
    counts = ended_run(steps).counts
    return counts.ending_commits / max(1, counts.ended)
