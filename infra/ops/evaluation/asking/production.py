"""What production leaves of the provider's quota: read in its environment, nothing written."""

import math
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from infra.ops.environment.listing import RunListing
from infra.ops.runs.reading import CALL_SECONDS
from shared.domain.job_documents import COLLECTION as JOBS
from shared.domain.jobs import JobState
from shared.domain.pace_documents import pace_ref, parse_pace
from shared.domain.pacing import MINUTES_KEPT, Pace
from shared.ports import Clock, DocumentStore

#: So much of the provider's limit stays free: a minute of the clock is not the provider's.
_RESERVE_SHARE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductionQuota:
    """The quota that an evaluation shares with the steps of an environment."""

    documents: DocumentStore
    runs: RunListing
    #: The paces of the models that the evaluation asks.
    places: Collection[str]
    clock: Clock

    async def left(self) -> float:
        """Calls a minute that may be made beside production's; infinite where none is known.

        Raises:
            StoreUnavailable: Firestore did not answer.
        """
        queued = await self.runs.count(
            JOBS, {"state": str(JobState.QUEUED)}, timeout_seconds=CALL_SECONDS
        )
        if queued:
            return 0.0
        refs = [pace_ref(place) for place in sorted(self.places)]
        stored = await self.documents.read(refs, timeout_seconds=CALL_SECONDS)
        now = self.clock.now()
        paces = (parse_pace(each.ref.document_id, each.data) for each in stored if each)
        return min((left_by(pace, now) for pace in paces if pace), default=math.inf)


def left_by(pace: Pace, now: datetime) -> float:
    """What the provider takes beyond production's busiest minute of late. Pure.

    Nothing is known of a pace that is not in force: production's calls are not counted then.
    """
    if not pace.in_force(now):
        return math.inf
    late = now - timedelta(minutes=MINUTES_KEPT)
    busiest = max((each.granted for each in pace.minutes if each.at >= late), default=0)
    return max(0.0, (1 - _RESERVE_SHARE) * pace.rate(now) - busiest)
