"""The jobs at the head of a queue as they were read, and how long they have waited."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.domain.documents import Snapshot
from shared.domain.job_documents import JobRecordInvalid, parse_stored_job
from shared.domain.jobs import JobRecord
from shared.domain.times import rfc3339
from shared.domain.waiting import patience_used
from shared.log import EventLogger, LogEvent


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """A waiting job as it was read."""

    stored: Snapshot
    job: JobRecord


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
