"""What still has to happen until everything has ended, and whether anyone works on it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.domain.documents import DocumentRef
from tests.simulation.delivery import FLOW_RUNS
from tests.simulation.ledger import Ledger
from tests.simulation.promises import CLOSED, LLM_REPORT, executable, leased, owner_of
from tests.simulation.records import Records

JOBS = "llm_jobs"


@dataclass(frozen=True, slots=True)
class Remaining:
    """A step that has not ended, or whose job is not closed."""

    key: str
    what: str
    job: Any = None

    def in_hand(self, ledger: Ledger, now: datetime) -> bool:
        """Whether a living process works on it, or it waits on purpose for its next attempt."""
        if self.job is None:
            return False
        not_before = self.job.get("notBefore")
        if not_before is not None and now < not_before:
            return True
        if not leased(self.job, now):
            return False
        owner = owner_of(self.job)
        holders = (lease for lease in ledger.claim(self.key, self.job).leases)
        request = next((lease.request for lease in holders if lease.owner == owner), None)
        return request is not None and not request.answer.done()


def remaining(records: Records, run_ids: Sequence[str]) -> list[Remaining]:
    """Everything that remains."""
    found: list[Remaining] = []
    for run_id in run_ids:
        run = records.present(DocumentRef(FLOW_RUNS, run_id))
        if run is not None:
            found += _of_run(records, run_id, run.fields)
    return found


def _of_run(records: Records, run_id: str, run: Any) -> Iterator[Remaining]:
    for step_id, step in run["steps"].items():
        if step["stepType"] != LLM_REPORT:
            continue
        key = f"{run_id}~{step_id}"
        stored = records.present(DocumentRef(JOBS, key))
        job = stored.fields if stored else None
        if executable(run, step_id):
            yield Remaining(key, f"{step_id} is not claimed")
        elif step["status"] == "RUNNING":
            yield Remaining(key, f"{step_id} is RUNNING", job)
        elif job is not None and job["state"] not in CLOSED:
            yield Remaining(key, f"the job of {step_id} is {job['state']}", job)
