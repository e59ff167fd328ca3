"""The sweep among documents that nobody foresaw: each on its own, and all of them reported."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from dispatcher.sweep import CURSOR, JOBS_CURSOR
from dispatcher.sweep_jobs import PARK_FOR
from shared.domain.documents import DocumentRef, Snapshot, Version
from shared.domain.identifiers import StepId
from shared.domain.job_documents import COLLECTION, job_ref
from shared.domain.messages import OutgoingMessage
from shared.ports import QueueRefused, StoreRefused, StoreUnavailable
from tests.support.sweep_site import ENVIRON, NOW, SECOND, Documents, Queue, Site

WIDE = {**ENVIRON, "SWEEP_PAGE_SIZE": "20"}
RECORD = {
    "claimId": "c",
    "eventId": "e",
    "claimedAt": NOW - 130 * SECOND,
    "state": "QUEUED",
    "attempt": 0,
    "llmCalls": 0,
    "wakeAt": NOW - 9 * SECOND,
}


@pytest.mark.parametrize(
    ("document_id", "data"),
    [
        pytest.param("~", {"wakeAt": NOW - 9 * SECOND}, id="ids are empty"),
        pytest.param("~", {**RECORD, "runId": "", "stepId": ""}, id="ids are empty, and match"),
        pytest.param("no tilde", RECORD, id="no ids"),
        pytest.param("copy", {**RECORD, "runId": "r", "stepId": "s"}, id="another document's"),
        pytest.param("~", {**RECORD, "claimId": 7}, id="a claim that is a number"),
        pytest.param("r~s", {**RECORD, "state": ["QUEUED"]}, id="a list for a state"),
        pytest.param("r~s", {**RECORD, "attempt": float("inf")}, id="endlessly many attempts"),
    ],
)
async def test_a_foreign_due_record_is_named_and_parked_and_stops_no_other(
    document_id: str, data: dict[str, Any]
) -> None:
    site = Site(environ=WIDE)
    foreign = DocumentRef(COLLECTION, document_id)
    await site.put(foreign, data)
    await site.job(await site.run(1, "RUNNING"))

    first, second = await site.sweep().run(), await site.sweep().run()

    assert len(site.published()) == 1
    assert first.failed == {"JobRecordInvalid": 1}
    assert first.failed_documents == [document_id]
    assert first.complete
    assert second.finished
    assert (await site.read(foreign))["wakeAt"] == NOW + PARK_FOR
    [told] = site.logged("job_deferred")
    assert told["documents"] == [document_id]


async def test_many_unreadable_records_do_not_keep_the_readable_ones_waiting() -> None:
    site = Site(environ=WIDE)
    for number in range(2_000):
        await site.put(DocumentRef(COLLECTION, f"x~{number}"), {"wakeAt": NOW - 9 * SECOND})
    for run in range(4):
        run_id = await site.run(run, "RUNNING", steps=100)
        for step in range(100):
            await site.job(run_id, step)

    reports = [await site.sweep().run() for _ in range(2)]

    assert len({(job.run_id, job.step_id) for job in site.published()}) == 400
    assert [report.complete for report in reports] == [False, True]


async def test_a_record_that_cannot_be_parked_does_not_stop_the_others_from_being() -> None:
    site = Site(environ=WIDE)
    for number in range(3):
        await site.put(DocumentRef(COLLECTION, f"x~{number}"), {"wakeAt": NOW - 9 * SECOND})
    refusing = Refusing(site.clock, unfit={DocumentRef(COLLECTION, "x~1")})
    refusing.take_over(site)

    await site.sweep().run()

    times = [(await site.read(DocumentRef(COLLECTION, f"x~{n}")))["wakeAt"] for n in range(3)]
    assert times == [NOW + PARK_FOR, NOW - 9 * SECOND, NOW + PARK_FOR]


async def test_a_run_that_cannot_be_read_leaves_the_jobs_of_the_others_to_be_woken() -> None:
    site = Site(environ=WIDE)
    runs = [await site.run(number, "RUNNING") for number in range(5)]
    for run_id in runs:
        await site.job(run_id)
    refusing = Refusing(site.clock, unreadable={DocumentRef("flow_runs", runs[2])})
    refusing.take_over(site)

    report = await site.sweep().run()

    assert [job.run_id for job in site.published()] == [*runs[:2], *runs[3:]]
    # The run fails twice: as the run of a due job, and as a running run.
    assert report.failed == {"StoreUnavailable": 2}
    assert report.failed_documents == [f"{runs[2]}~s0", runs[2]]


async def test_a_message_that_is_refused_for_good_leaves_the_others_published() -> None:
    queue = Picky()
    site = Site(environ=WIDE, queue=queue)
    runs = [await site.run(number, "RUNNING") for number in range(3)]
    for run_id in runs:
        await site.job(run_id)
    queue.unwanted = runs[1]

    report = await site.sweep().run()

    assert [job.run_id for job in site.published()] == [runs[0], runs[2]]
    assert report.failed == {"QueueRefused": 1}


async def test_a_page_that_is_too_much_is_halved_and_every_run_is_looked_at() -> None:
    site = Site(environ=WIDE)
    refusing = Refusing(site.clock, most_at_once=11)
    refusing.take_over(site)
    runs = [await site.run(number, "READY") for number in range(9)]
    for number in range(20):
        ref = DocumentRef("flow_runs", f"20250105-0900{number:02}_BTCUSDT_abc")
        await site.put(ref, {"status": "RUNNING", "steps": {}})

    report = await site.sweep().run()

    assert report.finished
    assert (report.runs, report.claimed) == (29, 9)
    assert await site.steps(runs[8]) == ["RUNNING"]


async def test_one_run_that_never_comes_is_passed_over_named_and_the_report_says_so() -> None:
    site = Site(environ=WIDE)
    poison = "20250105-090000_BTCUSDT_abc"
    await site.put(DocumentRef("flow_runs", poison), {"status": "RUNNING", "steps": {}})
    lost = await site.run(1, "READY")
    Refusing(site.clock, unreadable={DocumentRef("flow_runs", poison)}).take_over(site)

    report = await site.sweep().run()

    assert await site.steps(lost) == ["RUNNING"]
    assert report.failed_documents == [poison]
    assert not report.complete


async def test_one_due_record_that_never_comes_is_passed_over_and_named() -> None:
    site = Site(environ=WIDE)
    poison = DocumentRef(COLLECTION, "x~y")
    await site.put(poison, {"wakeAt": NOW - 9 * SECOND})
    await site.job(await site.run(1, "RUNNING"))
    Refusing(site.clock, unreadable={poison}).take_over(site)

    report = await site.sweep().run()

    assert len(site.published()) == 1
    assert report.failed_documents == ["x~y"]
    assert not report.complete


@pytest.mark.parametrize("failure", [StoreUnavailable("down"), StoreRefused("403")])
async def test_a_sweep_that_could_not_ask_does_not_say_that_it_looked_at_all(
    failure: Exception,
) -> None:
    site = Site()
    refusing = Refusing(site.clock, queries_fail=failure)
    refusing.take_over(site)

    report = await site.sweep().run()

    assert not report.complete
    assert report.failed == {type(failure).__name__: 2}


async def test_due_jobs_that_one_sweep_does_not_reach_are_reached_by_the_next() -> None:
    site = Site(environ={**ENVIRON, "SWEEP_MAX_PAGES": "1"})
    runs = [await site.run(number, "RUNNING") for number in range(5)]
    for run_id in runs:
        await site.job(run_id)
    # The first two can never be written: they stay in front of the others.
    unfit = {job_ref(run_id, StepId("s0")) for run_id in runs[:2]}
    Refusing(site.clock, unfit=unfit).take_over(site)

    reports = [await site.sweep().run() for _ in range(3)]

    assert [job.run_id for job in site.published()] == runs[2:]
    assert [report.complete for report in reports] == [False, False, True]
    assert (await site.read(JOBS_CURSOR))["after"] is None


@pytest.mark.parametrize("cursor", [JOBS_CURSOR, CURSOR])
@pytest.mark.parametrize("after", [7, "", "a/b", {"x": 1}, None])
async def test_a_cursor_that_somebody_else_wrote_is_a_beginning(
    cursor: DocumentRef, after: object
) -> None:
    site = Site()
    await site.put(cursor, {"after": after, "wakeAt": "yesterday"})
    await site.job(await site.run(1, "RUNNING"))
    await site.run(2, "READY")

    report = await site.sweep().run()

    assert report.finished
    assert (report.jobs.total(), report.claimed) == (1, 1)


class Refusing(Documents):
    """Documents of which some cannot be read or written, or only a few can be read at once."""

    def __init__(
        self,
        clock: Any,
        *,
        unfit: set[DocumentRef] | None = None,
        unreadable: set[DocumentRef] | None = None,
        most_at_once: int = 1_000,
        queries_fail: Exception | None = None,
    ) -> None:
        super().__init__(clock)
        self.unfit = unfit or set()
        self.unreadable = unreadable or set()
        self.most_at_once = most_at_once
        self.queries_fail = queries_fail

    def take_over(self, site: Site) -> None:
        """Stand in the place of the site's documents, with all that they hold."""
        self._documents = site.documents._documents
        self.unavailable = site.documents.unavailable
        site.documents = self

    async def commit(self, writes: Any, *, timeout_seconds: float) -> Version:
        """Refuse writes of documents that are unfit."""
        if any(write.ref in self.unfit for write in writes):
            raise StoreRefused("INVALID_ARGUMENT", unfit=True)
        return await super().commit(writes, timeout_seconds=timeout_seconds)

    async def read(
        self, refs: Sequence[DocumentRef], *, timeout_seconds: float
    ) -> Sequence[Snapshot | None]:
        """Do not answer for documents that cannot be read."""
        if self.unreadable & set(refs):
            raise StoreUnavailable("DEADLINE_EXCEEDED")
        return await super().read(refs, timeout_seconds=timeout_seconds)

    async def due_jobs(
        self,
        now: datetime,
        *,
        after: Snapshot | None,
        limit: int,
        timeout_seconds: float,
        heads: bool = False,
    ) -> Sequence[Snapshot]:
        """Do not answer with documents that cannot be read."""
        page = await super().due_jobs(
            now, after=after, limit=limit, timeout_seconds=timeout_seconds, heads=heads
        )
        return self._checked(page, heads=heads)

    async def running_runs(
        self,
        collection: str,
        *,
        after: str | None,
        limit: int,
        timeout_seconds: float,
        heads: bool = False,
    ) -> Sequence[Snapshot]:
        """Do not answer with documents that cannot be read."""
        page = await super().running_runs(
            collection, after=after, limit=limit, timeout_seconds=timeout_seconds, heads=heads
        )
        return self._checked(page, heads=heads)

    def _checked(self, page: Sequence[Snapshot], *, heads: bool) -> Sequence[Snapshot]:
        if self.queries_fail is not None:
            raise self.queries_fail
        poisoned = self.unreadable & {each.ref for each in page}
        if not heads and (poisoned or len(page) > self.most_at_once):
            raise StoreUnavailable("DEADLINE_EXCEEDED")
        return page


@dataclass(slots=True)
class Picky(Queue):
    """Does not take the messages of one run."""

    unwanted: str = ""

    async def publish(
        self, messages: Sequence[OutgoingMessage], *, timeout_seconds: float
    ) -> None:
        """Refuse the whole request for one message, as Pub/Sub does."""
        if any(message.attributes["runId"] == self.unwanted for message in messages):
            raise QueueRefused("INVALID_ARGUMENT", unfit=True)
        await Queue.publish(self, messages, timeout_seconds=timeout_seconds)
