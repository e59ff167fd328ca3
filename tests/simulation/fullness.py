"""Runs with hardly any room: since when they have none, and which writes did not fit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.domain.documents import DocumentRef, Update, Write
from tests.simulation.delivery import FLOW_RUNS
from tests.simulation.process import Request
from tests.simulation.promises import CLOSED, LLM_REPORT, RUN_TOO_LARGE
from tests.simulation.records import Change, Records
from tests.simulation.remaining import Remaining
from tests.simulation.surroundings import room_in

#: When fewer bytes than this are left, no call is made (docs/explanation/architecture.md).
ENDING_BYTES = 4_096


@dataclass(slots=True)
class Fullness:
    """What the checker knows of the room in runs."""

    records: Records
    #: Since when each run is full, by run id, in virtual seconds, without runs that have room
    #: now.
    _full_since: dict[str, float] = field(default_factory=dict)
    #: The runs that had too little room at some time for all of their steps.
    _once_full: set[str] = field(default_factory=set)
    _looked_at: int = 0
    #: By step: the version of its run, and the claim, at which even the smallest form of its
    #: end did not fit.
    _unsaid: dict[str, tuple[int | None, str | None]] = field(default_factory=dict)
    #: The runs for which a commit was refused.
    _refused: set[str] = field(default_factory=set)

    def note(self, changes: Sequence[Change], seconds: float) -> None:
        """Note what a commit changed."""
        for change in changes:
            if change.ref.collection != FLOW_RUNS or change.new is None:
                continue
            run_id, room = change.ref.document_id, room_in(change.ref, change.new)
            if room < ENDING_BYTES * len(change.new.fields.get("steps", ())):
                self._once_full.add(run_id)
            if room < ENDING_BYTES:
                self._full_since.setdefault(run_id, seconds)
            else:
                self._full_since.pop(run_id, None)

    def was_full(self, run_id: str, request: Request | None) -> bool:
        """Whether the run was full when the request began, and ever since."""
        since = self._full_since.get(run_id)
        return since is not None and request is not None and since < request.begun_at

    def may_refuse(self, change: Change) -> bool:
        """Whether steps of the run may be refused: it lacks room for one that is at work."""
        self._look()
        if change.old is None or change.ref.document_id in self._refused:
            return change.old is not None
        steps = change.old.fields["steps"].values()
        open_steps = [
            step
            for step in steps
            if step["stepType"] == LLM_REPORT and step["status"] in {"READY", "RUNNING"}
        ]
        return room_in(change.ref, change.old) < ENDING_BYTES * len(open_steps)

    def excuses(self, left: Remaining) -> bool:
        """Whether nothing more can be written of the step: its run has no room for a code."""
        self._look()
        version, claim_id = self._unsaid.get(left.key, (None, None))
        if left.key not in self._unsaid:
            return False
        if left.job is not None and left.job["state"] in CLOSED:
            code = (left.job.get("lastError") or {}).get("code")
            return left.job["claimId"] == claim_id and code == RUN_TOO_LARGE
        run = self.records.present(DocumentRef(FLOW_RUNS, left.key.partition("~")[0]))
        return left.job is None and run is not None and run.update_time == version

    def ever(self, run_id: str) -> bool:
        """Whether the run ever lacked room, or a commit to it was ever refused for its size."""
        self._look()
        return run_id in self._refused or run_id in self._once_full

    def _look(self) -> None:
        for _, writes, version in self.records.unfit[self._looked_at :]:
            jobs = {
                ids.get("stepId"): ids.get("claimId") for ids in map(self._job, writes) if ids
            }
            for write in writes:
                if write.ref.collection == FLOW_RUNS:
                    self._refused.add(write.ref.document_id)
                for step_id in _said_shortly(write):
                    key = f"{write.ref.document_id}~{step_id}"
                    self._unsaid[key] = (version, jobs.get(step_id))
        self._looked_at = len(self.records.unfit)

    def _job(self, write: Write) -> Any:
        found = self.records.present(write.ref)
        return found.fields if found and write.ref.collection == "llm_jobs" else None


def _said_shortly(write: Write) -> Iterator[str]:
    """The steps that the write ends in the fewest bytes: it leaves out when they ended."""
    changes = write.changes if isinstance(write, Update) else {}
    for path, value in changes.items():
        ends = path[-1] == "status" and value in {"SUCCEEDED", "FAILED"}
        if ends and len(path) == 3 and (*path[:2], "finishedAt") not in changes:
            yield path[1]
