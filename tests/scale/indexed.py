"""Documents in memory whose two queries cost what they return, not what is stored."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from infra.local.cloud.cloud_events import Document
from infra.local.embedded.documents import EmbeddedDocuments
from shared.domain.documents import DocumentRef, Snapshot
from shared.domain.job_documents import SHARD

_JOBS = "llm_jobs"


class IndexedDocuments(EmbeddedDocuments):
    """The embedded documents, with an index for due jobs and one for running runs."""

    def __init__(self, now_nanoseconds: Callable[[], int]) -> None:
        super().__init__(now_nanoseconds)
        self._wake_times: list[tuple[datetime, str]] = []
        self._running: list[str] = []
        self.listen(self._index)

    def _index(self, ref: DocumentRef, old: Document | None, new: Document | None) -> None:
        if ref.collection == _JOBS:
            before, after = (_wake_time(doc) for doc in (old, new))
            if before != after:
                _replace(
                    self._wake_times,
                    (before, ref.document_id) if before else None,
                    (after, ref.document_id) if after else None,
                )
        elif ref.collection == "flow_runs":
            was, is_now = (bool(doc and _runs(doc)) for doc in (old, new))
            if was != is_now:
                name = ref.document_id
                _replace(self._running, name if was else None, name if is_now else None)

    async def due_jobs(
        self,
        now: datetime,
        *,
        after: Snapshot | None,
        limit: int,
        timeout_seconds: float,
        heads: bool = False,
    ) -> Sequence[Snapshot]:
        """See the port."""
        del timeout_seconds, heads
        key = (after.data["wakeAt"], after.ref.document_id) if after else None
        first = bisect_right(self._wake_times, key) if key else 0
        last = bisect_left(self._wake_times, (now, "\U0010ffff"))
        found = self._wake_times[first : min(last, first + limit)]
        return self._present(DocumentRef(_JOBS, name) for _, name in found)

    async def running_runs(
        self,
        collection: str,
        *,
        after: str | None,
        limit: int,
        timeout_seconds: float,
        heads: bool = False,
    ) -> Sequence[Snapshot]:
        """See the port."""
        del timeout_seconds, heads
        first = bisect_right(self._running, after) if after else 0
        found = self._running[first : first + limit]
        return self._present(DocumentRef(collection, name) for name in found)

    @property
    def waiting(self) -> int:
        """Jobs that are to be looked at now or later."""
        return len(self._wake_times)

    def due(self, now: datetime) -> int:
        """Jobs that are to be looked at now."""
        return bisect_left(self._wake_times, (now, "\U0010ffff"))


def _wake_time(document: Document | None) -> datetime | None:
    found = document.fields.get("wakeAt") if document and SHARD in document.fields else None
    return found if isinstance(found, datetime) else None


def _runs(document: Document) -> bool:
    return document.fields.get("status") == "RUNNING"


def _replace(entries: list[Any], old: Any, new: Any) -> None:
    if old is not None:
        del entries[bisect_left(entries, old)]
    if new is not None:
        insort(entries, new)
