"""For which paces jobs wait, whatever else stands in the queue."""

from collections.abc import Sequence

from dispatcher.refusing import CALL_TIMEOUT_SECONDS
from dispatcher.sweep_report import SweepReport
from shared.domain.job_documents import QUEUE, JobRecordInvalid
from shared.domain.pace_documents import is_pace_place
from shared.domain.waiting import queue_range
from shared.ports import UnfinishedWork

MAX_PLACES = 20
#: So many documents are looked at, each the first of a queue, to find the places.
_MAX_FIRSTS = 5 * MAX_PLACES
#: Behind every key of a queue.
_LAST = "\U0010ffff"


async def waiting_places(
    work: UnfinishedWork, report: SweepReport, odd: set[str]
) -> Sequence[str]:
    """The places of these paces.

    Args:
        work: where jobs wait.
        report: names documents that stand in the queue of no pace.
        odd: the ids of those that it named; each is named once.

    Raises:
        PortFailure: the queue could not be looked at.
    """
    places: list[str] = []
    after = ""
    for _ in range(_MAX_FIRSTS):
        found = await work.waiting_jobs(
            after=after, before=_LAST, limit=1, timeout_seconds=CALL_TIMEOUT_SECONDS
        )
        if not found or len(places) == MAX_PLACES:
            break
        key = str(found[0].data[QUEUE])
        place, bar, _ = key.partition("|")
        if bar and is_pace_place(place):
            places.append(place)
            after = queue_range(place)[1]
        else:
            _pass_over(found[0].ref.document_id, report, odd)
            after = key
    return places


def _pass_over(document_id: str, report: SweepReport, odd: set[str]) -> None:
    if document_id not in odd:
        odd.add(document_id)
        problem = JobRecordInvalid("bad job record: it stands in the queue of no pace")
        report.note_failure(problem, document_id)
