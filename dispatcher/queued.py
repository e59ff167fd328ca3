"""The jobs at the head of a queue as they were read, and how long they have waited."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from dispatcher.refusing import CALL_TIMEOUT_SECONDS
from dispatcher.sweep_report import SweepReport
from shared.domain.documents import Snapshot
from shared.domain.job_documents import QUEUE, JobRecordInvalid, parse_stored_job
from shared.domain.jobs import JobRecord
from shared.domain.times import rfc3339
from shared.domain.waiting import patience_used, queue_range
from shared.log import EventLogger, LogEvent
from shared.ports import UnfinishedWork

#: Pages that one look at a queue reads, and their size once the first holds no job.
_MAX_PAGES = 20
_LARGE_PAGE = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """A waiting job as it was read."""

    stored: Snapshot
    job: JobRecord


@dataclass(slots=True, kw_only=True)
class QueueHeads:
    """Reads the heads of queues, for one sweep.

    Pages without any job are passed over, as a newer version may have left thousands of records
    that this one cannot read: the jobs behind them must not wait until these are gone.
    """

    work: UnfinishedWork
    report: SweepReport
    #: By place: the key behind which to look.
    _behind: dict[str, str] = field(default_factory=dict)
    #: The ids of the documents that the report has counted.
    _odd: set[str] = field(default_factory=set)

    async def page(self, place: str, limit: int) -> Sequence[Snapshot]:
        """The first documents of the queue of a pace, about as many as wanted.

        Raises:
            PortFailure: the queue could not be looked at.
        """
        first, before = queue_range(place)
        page: Sequence[Snapshot] = ()
        size = limit
        for _ in range(_MAX_PAGES):
            page = await self.work.waiting_jobs(
                after=self._behind.get(place, first),
                before=before,
                limit=size,
                timeout_seconds=CALL_TIMEOUT_SECONDS,
            )
            jobs = readable_jobs(page)
            self._count_odd(page, jobs)
            if jobs or len(page) < size:
                break
            self._behind[place] = str(page[-1].data[QUEUE])
            size = max(limit, _LARGE_PAGE)
        return page

    def _count_odd(self, page: Sequence[Snapshot], jobs: Sequence[Queued]) -> None:
        read = {job.stored.ref for job in jobs}
        for stored in page:
            name = stored.ref.document_id
            if stored.ref not in read and name not in self._odd:
                self._odd.add(name)
                problem = JobRecordInvalid("bad job record: it stands in a queue")
                self.report.note_failure(problem, name)


def readable_jobs(page: Sequence[Snapshot]) -> Sequence[Queued]:
    """Those of the page whose records can be read, in its order."""
    jobs: list[Queued] = []
    for stored in page:
        try:
            jobs.append(Queued(stored=stored, job=parse_stored_job(stored)))
        except JobRecordInvalid:
            continue
    return jobs


def log_waits(
    log: EventLogger, place: str, head: Sequence[Queued], *, jobs: int, now: datetime
) -> None:
    """Say how much of their patience the first jobs of a queue have used.

    The metric behind the alert on long waits reads it. The queue's order is that in which
    patience ends, so the first jobs tell for all.
    """
    waits = [(queued.job, queued.job.waiting) for queued in head if queued.job.waiting]
    if not waits:
        return
    used = max(patience_used(waiting, job.claimed_at, now) for job, waiting in waits)
    log.info(
        LogEvent.JOBS_WAITING,
        place=place,
        jobs=jobs,
        patienceUsed=round(used, 3),
        patienceUntil=rfc3339(min(waiting.until for _, waiting in waits)),
    )
