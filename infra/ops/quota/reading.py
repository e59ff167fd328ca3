"""The quotas of an environment, read within bounds."""

from collections.abc import Mapping

from infra.ops.environment.connection import Connection
from infra.ops.environment.listing import ById, InQueue
from infra.ops.quota.view import Quotas, WaitingJobs, quotas_of
from shared.adapters.clock import SystemClock
from shared.domain.documents import Snapshot
from shared.domain.job_documents import QUEUE, JobRecordInvalid, parse_stored_job
from shared.domain.jobs import JobRecord
from shared.domain.pace_documents import COLLECTION, is_pace_place, pace_ref, parse_pace
from shared.domain.waiting import queue_range
from shared.ports import Clock

#: Paces, and queues, that are looked at.
MOST_PLACES = 30
#: Jobs of each queue that are read, from its head on.
_FIRST = 10
#: Behind every key of a queue.
_LAST = "\U0010ffff"
_CALL_SECONDS = 15.0


async def read_quotas(connection: Connection, clock: Clock | None = None) -> Quotas:
    """What was learned of each model, and who waits for it.

    At most thirty queues with ten jobs of each and a count, their paces, and thirty others.

    Raises:
        StoreUnavailable: Firestore did not answer.
    """
    queues, more = await _queues(connection)
    question = ById(collection=COLLECTION, equal={}, limit=MOST_PLACES + 1)
    stored = await connection.runs.find(question, timeout_seconds=_CALL_SECONDS)
    found = {each.ref.document_id: each for each in stored[:MOST_PLACES]}
    others = [
        pace_ref(place) for place in queues if place not in found and is_pace_place(place)
    ]
    if others:
        waited_for = await connection.documents.read(others, timeout_seconds=_CALL_SECONDS)
        found |= {each.ref.document_id: each for each in waited_for if each}
    paces = {
        place: pace
        for place, each in found.items()
        if (pace := parse_pace(place, each.data)) is not None
    }
    cut = more or len(stored) > MOST_PLACES
    return quotas_of(paces, queues, cut=cut, now=(clock or SystemClock()).now())


async def _queues(connection: Connection) -> tuple[Mapping[str, WaitingJobs], bool]:
    """The queues by their places, and whether there are more of them."""
    queues: dict[str, WaitingJobs] = {}
    after = ""
    while True:
        question = InQueue(after=after, before=_LAST, limit=_FIRST)
        page = await connection.runs.find(question, timeout_seconds=_CALL_SECONDS)
        if not page or len(queues) == MOST_PLACES:
            return queues, bool(page)
        place = _place_of(page[0])
        after, before = queue_range(place)
        own = [each for each in page if _place_of(each) == place]
        jobs = len(own)
        if jobs == _FIRST:
            jobs = await connection.runs.count_waiting(
                after=after, before=before, timeout_seconds=_CALL_SECONDS
            )
        queues[place] = WaitingJobs(jobs=jobs, first=[*filter(None, map(_readable, own))])
        # A key of no pace has no bar, and stands before the range of what it names.
        after = max(before, str(page[0].data[QUEUE]))


def _place_of(stored: Snapshot) -> str:
    return str(stored.data[QUEUE]).partition("|")[0]


def _readable(stored: Snapshot) -> JobRecord | None:
    try:
        return parse_stored_job(stored)
    except JobRecordInvalid:
        return None
