"""Job records from before there were shards, which no query finds: they get their shard.

Every write of a record adds it. That leaves records which nobody writes any more, as those
whose executor died; their steps are RUNNING, so the look at running runs comes by.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from dispatcher.refusing import CALL_TIMEOUT_SECONDS
from shared.domain.documents import DocumentRef, Snapshot, Update
from shared.domain.flow_run import LLM_REPORT
from shared.domain.identifiers import RunId, StepId, is_run_id, is_step_id
from shared.domain.job_documents import SHARD, job_ref, shard_of
from shared.domain.steps import StepStatus
from shared.ports import Clock, Conflict, DocumentStore

#: Some step of a younger run is about to be written anyway.
OLD = timedelta(minutes=20)
#: So many records are looked at for each page of runs, drawn anew by each sweep.
MOST_OF_A_PAGE = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsharded:
    """Finds records without a shard and adds it; the next sweep finds them by their time."""

    documents: DocumentStore
    clock: Clock
    random: Random

    async def mend(self, runs: Sequence[Snapshot]) -> None:
        """Look at some records of these running runs.

        Raises:
            StoreUnavailable: no answer within the timeout.
            StoreRefused: Firestore does not let us read or write.
        """
        refs = list(old_jobs(runs, self.clock.now()))
        drawn = self.random.sample(refs, min(len(refs), MOST_OF_A_PAGE))
        if not drawn:
            return
        found = await self.documents.read(drawn, timeout_seconds=CALL_TIMEOUT_SECONDS)
        for job in found:
            if job is not None and SHARD not in job.data:
                with suppress(Conflict):  # Written meanwhile, and every write adds the shard.
                    await self.documents.commit(
                        [_sharded(job)], timeout_seconds=CALL_TIMEOUT_SECONDS
                    )


def _sharded(job: Snapshot) -> Update:
    shard = shard_of(job.ref.document_id)
    return Update(ref=job.ref, changes={(SHARD,): shard}, guard=job.version)


def old_jobs(runs: Sequence[Snapshot], now: datetime) -> Iterator[DocumentRef]:
    """The job records of RUNNING steps of runs that began long ago."""
    for run in runs:
        run_id, steps = run.ref.document_id, run.data.get("steps")
        if not is_run_id(run_id) or now - _begun(run_id) < OLD:
            continue
        for step_id, step in steps.items() if isinstance(steps, Mapping) else ():
            if is_step_id(step_id) and _at_work(step):
                yield job_ref(RunId(run_id), StepId(step_id))


def _begun(run_id: RunId) -> datetime:
    """When the run began, by its id; long ago if no day of the calendar stands there."""
    try:
        return datetime.strptime(run_id[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)


def _at_work(step: Any) -> bool:
    return (
        isinstance(step, Mapping)
        and step.get("status") == StepStatus.RUNNING
        and step.get("stepType") == LLM_REPORT
    )
