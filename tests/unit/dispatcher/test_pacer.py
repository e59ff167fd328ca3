"""The pacer on embedded documents: who is let through, how many, and when it looks again."""

import asyncio
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random

import pytest

from dispatcher.claiming import Cause
from dispatcher.pacer import LOOK_EVERY_SECONDS, Pacer
from dispatcher.ports import SweepPorts
from dispatcher.queued import QueueHeads
from dispatcher.settings import read_settings
from dispatcher.sweep_plan import SweepOutcome
from dispatcher.sweep_report import SweepReport
from dispatcher.wiring import assemble_sweep
from infra.local.embedded.documents import EmbeddedDocuments
from infra.local.embedded.queue import KeptMessages
from shared.domain.documents import Create, DocumentRef, Snapshot, Update, Version, Write
from shared.domain.identifiers import ClaimId, RunId, StepId
from shared.domain.job_documents import create_job, job_ref, parse_job_record
from shared.domain.jobs import JobRecord, JobState
from shared.domain.messages import decode_job_message
from shared.domain.pace_documents import pace_ref, pace_write, parse_pace
from shared.domain.pacing import FIRST_RATE, Pace, first_refused, limited, unknown
from shared.domain.trace import trace_of_event
from shared.domain.waiting import Waiting
from shared.log import EventLogger
from shared.ports import Conflict, StoreRefused, StoreUnavailable
from tests.support.held_job import START, VirtualClock, virtually

PLACE, OTHER = "gemini-x@ai_studio", "gemini-y@ai_studio"
SECOND = timedelta(seconds=1)
TIMEOUT = 1.0
SETTINGS = read_settings({"GCP_PROJECT": "p", "JOBS_TOPIC": "jobs"})


class Documents(EmbeddedDocuments):
    """Loses races for a pace, or does not answer, as often as a test says."""

    def __init__(self) -> None:
        super().__init__()
        self.lost_races = 0
        self.down_reads = 0
        self.looks: list[float] = []
        self.pace_writes = 0
        self.refused_pace = ""

    async def waiting_jobs(
        self, *, after: str, before: str, limit: int, timeout_seconds: float
    ) -> Sequence[Snapshot]:
        """Note when somebody looks."""
        if not after:
            self.looks.append(VirtualClock().monotonic())
        if self.down_reads:
            self.down_reads -= 1
            raise StoreUnavailable("as told")
        return await super().waiting_jobs(
            after=after, before=before, limit=limit, timeout_seconds=timeout_seconds
        )

    async def commit(self, writes: Sequence[Write], *, timeout_seconds: float) -> Version:
        """Refuse a pace as if somebody else had been faster."""
        if any(write.ref == pace_ref(self.refused_pace) for write in writes):
            raise StoreRefused("INVALID_ARGUMENT: as told", unfit=True)
        if any(write.ref.collection == "llm_pacing" for write in writes):
            self.pace_writes += 1
            if self.lost_races:
                self.lost_races -= 1
                raise Conflict("as told")
        return await super().commit(writes, timeout_seconds=timeout_seconds)


@dataclass(slots=True)
class Site:
    """A pacer and its surroundings."""

    documents: Documents = field(default_factory=Documents)
    queue: KeptMessages = field(default_factory=KeptMessages)
    report: SweepReport = field(default_factory=SweepReport)
    logged: io.StringIO = field(default_factory=io.StringIO)

    def pacer(self) -> Pacer:
        """A pacer as a sweep makes it."""
        clock = VirtualClock()
        log = EventLogger(component="dispatcher", env="test", clock=clock, stream=self.logged)
        sweep = assemble_sweep(
            SweepPorts(
                documents=self.documents,
                work=self.documents,
                queue=self.queue,
                clock=clock,
                log=log,
                new_id=lambda: "id",
                random=Random(0),
            ),
            SETTINGS,
        )
        return Pacer(
            documents=self.documents,
            work=self.documents,
            heads=QueueHeads(work=self.documents, report=self.report),
            claims=sweep.claims,
            clock=clock,
            queued_for=SETTINGS.queued_for,
            keep_closed_jobs=SETTINGS.sweep.keep_closed_jobs,
            report=self.report,
            cause=Cause(event_id="e", trace=trace_of_event("e"), log=log),
        )

    async def job(
        self,
        number: int,
        *,
        place: str = PLACE,
        due: float = 3_600,
        refused: float | None = None,
        status: str = "RUNNING",
    ) -> RunId:
        """Store a job that waits at a place, with a run of its own, and return the run's id."""
        run_id, step_id = RunId(f"20260105-090000_BTCUSDT_{number:06x}"), StepId("s0")
        run = {"status": "RUNNING", "steps": {"s0": {"stepType": "LLM_REPORT", "inputs": {}}}}
        run["steps"]["s0"]["status"] = status  # type: ignore[index]
        await self.put(Create(ref=DocumentRef("flow_runs", run_id), data=run))
        now = VirtualClock().now()
        waiting = Waiting(
            place=place,
            since=now,
            until=START + timedelta(hours=6),
            due_at=START + due * SECOND,
            turn=START,
            refused_at=None if refused is None else now - refused * SECOND,
        )
        record = JobRecord(
            run_id=run_id,
            step_id=step_id,
            claim_id=ClaimId(f"claim-{number}"),
            event_id="e",
            claimed_at=START,
            state=JobState.QUEUED,
            wake_at=START + timedelta(hours=6),
            waiting=waiting,
        )
        await self.put(create_job(record))
        return run_id

    async def put(self, write: Create | Update) -> None:
        """Write as other processes do."""
        await EmbeddedDocuments.commit(self.documents, [write], timeout_seconds=TIMEOUT)

    async def paced(self, pace: Pace) -> None:
        """Store a pace that was learned before."""
        await self.put(pace_write(pace, None))

    async def pace(self, place: str = PLACE) -> Pace:
        """The pace as it is stored now."""
        [stored] = await self.documents.read([pace_ref(place)], timeout_seconds=TIMEOUT)
        assert stored is not None
        pace = parse_pace(place, stored.data)
        assert pace is not None
        return pace

    async def record(self, run_id: RunId) -> JobRecord:
        """The job's record."""
        ref = job_ref(run_id, StepId("s0"))
        [stored] = await self.documents.read([ref], timeout_seconds=TIMEOUT)
        assert stored is not None
        return parse_job_record(stored.data)

    def waits(self) -> list[tuple[str, int, float]]:
        """The waits that were logged: place, number of jobs, and how much patience is used."""
        entries = map(json.loads, self.logged.getvalue().splitlines())
        return [
            (entry["place"], entry["jobs"], entry["patienceUsed"])
            for entry in entries
            if entry["event"] == "jobs_waiting"
        ]

    def woken(self) -> list[str]:
        """The runs whose jobs were published, in order."""
        return [decode_job_message(message.data).run_id for message in self.queue.messages]


def steady(rate: float) -> Pace:
    """A pace whose limit is known, with nothing in its bucket."""
    return replace(
        unknown(PLACE, START), peak=rate, steady=True, growing_since=START - 20 * SECOND
    )


def test_where_nobody_waits_nothing_is_read_twice_and_nothing_written() -> None:
    site = Site()

    async def scene() -> None:
        await site.pacer().run(60)

    virtually(scene())
    assert site.documents.looks == [0.0]
    assert site.documents.pace_writes == 0


@pytest.mark.parametrize("odd", [1, 12, 700])
def test_records_that_cannot_be_read_keep_no_job_behind_them_waiting(odd: int) -> None:
    """A newer version may have left such records at the head of the queue."""
    site = Site()

    async def scene() -> None:
        await site.paced(steady(60))
        for number in range(odd):
            ref = DocumentRef("llm_jobs", f"odd-{number:04}")
            data = {"shard": 0, "queue": f"{PLACE}|{number:04}", "state": "PLANNED"}
            await site.put(Create(ref=ref, data=data))
        waiting = [await site.job(number, due=900 + number) for number in range(2)]
        await asyncio.sleep(5)
        pacer = site.pacer()
        await pacer.look()
        assert site.woken() == waiting
        assert site.report.failed["JobRecordInvalid"] == odd

    virtually(scene())


def test_as_many_are_let_through_as_the_pace_allows_and_the_earliest_due_first() -> None:
    site = Site()

    async def scene() -> None:
        await site.paced(steady(60))
        late, soon, sooner = [await site.job(n, due=900 - n) for n in range(3)]
        await asyncio.sleep(2.1)
        await site.pacer().look()
        assert site.woken() == [sooner, soon]
        assert (await site.record(soon)).waiting.has_slot(VirtualClock().now())  # type: ignore[union-attr]
        assert (await site.record(late)).waiting.queued  # type: ignore[union-attr]
        assert (await site.pace()).waiting == 1

    virtually(scene())
    assert site.report.jobs == {SweepOutcome.LET_THROUGH: 2}


def test_a_queue_is_let_through_at_the_rate_of_its_pace_and_no_faster() -> None:
    site = Site()

    async def scene() -> None:
        await site.paced(limited(PLACE, START, 30))
        for number in range(60):
            await site.job(number)
        await site.pacer().run(60)

    virtually(scene())
    assert 28 <= len(site.woken()) <= 30


def test_a_slot_that_comes_a_little_after_the_usual_look_is_looked_for_just_then() -> None:
    site = Site()

    async def scene() -> None:
        await site.paced(limited(PLACE, START, 30))
        for number in range(60):
            await site.job(number)
        await site.pacer().run(60)

    virtually(scene())
    looks = site.documents.looks
    # After a fresh start the rate is 0.95 of the limit.
    assert looks[1] - looks[0] == pytest.approx(60 / (0.95 * 30), abs=0.01)
    # At most one look came too early for its slot.
    assert len(looks) - len(site.woken()) <= 1


def test_a_slot_that_comes_a_little_before_the_usual_look_is_looked_for_just_then() -> None:
    site = Site()

    async def scene() -> None:
        # Another sweep's looks were out of step with the slots.
        pace = replace(limited(PLACE, START - timedelta(minutes=1), 30), slots=0.35)
        pace = replace(pace, filled_at=START)
        await site.paced(pace)
        for number in range(60):
            await site.job(number)
        await site.pacer().run(60)

    virtually(scene())
    looks = site.documents.looks
    assert 1.2 < looks[1] - looks[0] < 1.5
    assert len(looks) - len(site.woken()) <= 1


def test_slots_that_are_far_away_are_no_reason_to_look_seldom() -> None:
    site = Site()

    async def scene() -> None:
        await site.paced(first_refused(PLACE, START, delay=timedelta(minutes=5)))
        await site.job(1)
        await site.pacer().run(20)

    virtually(scene())
    assert site.documents.looks == [LOOK_EVERY_SECONDS * n for n in range(11)]
    assert site.woken() == []


def test_refusals_that_came_back_to_the_queue_are_learned_once() -> None:
    site = Site()

    async def scene() -> None:
        await site.paced(steady(60))
        for number in range(3):
            await site.job(number, refused=1)
        pacer = site.pacer()
        await pacer.look()
        assert (await site.pace()).minutes[-1].refused == 3
        await asyncio.sleep(1.5)
        await pacer.look()
        assert (await site.pace()).minutes[-1].refused == 3

    virtually(scene())


def test_a_refusal_of_long_ago_teaches_nothing() -> None:
    site = Site()

    async def scene() -> None:
        await asyncio.sleep(100)
        await site.job(1, refused=90)
        await site.pacer().look()
        assert (await site.pace()).minutes == ()

    virtually(scene())


def test_jobs_of_a_place_of_which_nothing_is_known_begin_at_the_first_rate() -> None:
    site = Site()

    async def scene() -> None:
        await site.job(1)
        await site.pacer().look()
        pace = await site.pace()
        assert (pace.peak, pace.waiting) == (FIRST_RATE, 1)

    virtually(scene())


def test_each_place_has_its_own_queue_and_pace() -> None:
    site = Site()

    async def scene() -> None:
        await site.paced(first_refused(PLACE, START, delay=timedelta(minutes=5)))
        await site.paced(replace(steady(600), place=OTHER))
        await site.job(1)
        other = await site.job(2, place=OTHER)
        await asyncio.sleep(2.1)
        await site.pacer().look()
        assert site.woken() == [other]

    virtually(scene())


@pytest.mark.parametrize("queue", ["gemini", "|0", "a/b|0", "@|0", "~~0", "x" * 1_500 + "@y|0"])
def test_a_document_of_others_in_the_queue_is_named_and_keeps_nobody_waiting(
    queue: str,
) -> None:
    site = Site()
    foreign = Create(ref=DocumentRef("llm_jobs", "other"), data={"queue": queue})

    async def scene() -> None:
        await site.put(foreign)
        await site.paced(steady(60))
        ours = await site.job(1)
        await asyncio.sleep(2.1)
        pacer = site.pacer()
        await pacer.look()
        await pacer.look()
        assert site.woken() == [ours]

    virtually(scene())
    assert site.report.failed == {"JobRecordInvalid": 1}
    assert site.report.failed_documents == ["other"]


def test_a_pace_that_cannot_be_written_is_reported_and_the_other_queues_go_on() -> None:
    site = Site()
    site.documents.refused_pace = PLACE

    async def scene() -> None:
        await site.paced(replace(steady(60), place=OTHER))
        await site.job(1)
        other = await site.job(2, place=OTHER)
        await asyncio.sleep(2.1)
        await site.pacer().run(VirtualClock().monotonic())
        assert site.woken() == [other]

    virtually(scene())
    assert site.report.failed == {"StoreRefused": 1}


def test_of_two_that_look_at_once_the_slower_one_lets_nobody_through() -> None:
    site = Site()
    site.documents.lost_races = 1

    async def scene() -> None:
        await site.paced(steady(60))
        run_id = await site.job(1)
        await asyncio.sleep(2.1)
        pacer = site.pacer()
        await pacer.look()
        assert site.woken() == []
        await pacer.look()
        assert site.woken() == [run_id]

    virtually(scene())


def test_two_pacers_side_by_side_grant_each_slot_once() -> None:
    site = Site()

    async def scene() -> None:
        await site.paced(limited(PLACE, START, 30))
        for number in range(60):
            await site.job(number)
        await asyncio.gather(site.pacer().run(60), site.pacer().run(60))

    virtually(scene())
    assert 28 <= len(site.woken()) <= 30
    assert len(set(site.woken())) == len(site.woken())


def test_an_outage_of_the_database_is_ridden_out_and_told_once() -> None:
    site = Site()
    site.documents.down_reads = 3

    async def scene() -> None:
        await site.paced(steady(60))
        await site.job(1)
        await site.pacer().run(20)

    virtually(scene())
    assert site.report.failed == {"StoreUnavailable": 1}
    assert len(site.woken()) == 1


def test_a_job_whose_step_others_ended_is_closed_when_its_turn_comes() -> None:
    site = Site()

    async def scene() -> None:
        await site.paced(steady(60))
        run_id = await site.job(1, status="CANCELLED")
        await asyncio.sleep(2.1)
        await site.pacer().look()
        assert (await site.record(run_id)).state is JobState.ABANDONED

    virtually(scene())
    assert site.woken() == []
    assert site.report.jobs == {SweepOutcome.ABANDONED: 1}


def test_the_end_of_the_queue_is_told_to_those_that_call() -> None:
    site = Site()

    async def scene() -> None:
        await site.paced(steady(60))
        await site.job(1)
        await asyncio.sleep(2.1)
        await site.pacer().run(VirtualClock().monotonic() + 10)
        assert (await site.pace()).waiting == 0

    virtually(scene())


def test_how_long_jobs_have_waited_is_logged_once_a_sweep_for_each_queue() -> None:
    async def play() -> list[tuple[str, int, float]]:
        site = Site()
        await site.paced(replace(steady(6), resume_at=START + timedelta(hours=12)))
        for number in range(40):
            await site.job(number)
        await site.job(90, place=OTHER)
        await asyncio.sleep(4 * 3_600)
        pacer = site.pacer()
        for _ in range(3):
            await pacer.look()
        await site.pacer().look()
        return site.waits()

    # Four of the six hours of patience have passed.
    assert virtually(play()) == 2 * [(PLACE, 40, 0.667), (OTHER, 1, 0.667)]
