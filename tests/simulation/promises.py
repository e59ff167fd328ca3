"""The promises as rules over single commits; each says what is wrong, if anything.

The rules read stored documents as anyone could, and share no code with what they check
beside the names of states.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any

from infra.local.cloud.cloud_events import Document


class Promise(IntEnum):
    """The promises under "What must always hold", in docs/reliability.md."""

    CALL_UNDER_LEASE = 1
    CALL_BUDGET = 2
    SUCCESS_HAS_REPORT = 3
    ENDED_IS_ENDED = 4
    NO_CALL_FOR_A_REPORT = 5
    EVERYTHING_ENDS = 6
    NOTHING_LEAKS = 7


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise."""

    promise: Promise
    what: str

    def __str__(self) -> str:
        return f"promise {self.promise.value} ({self.promise.name}): {self.what}"


LLM_REPORT = "LLM_REPORT"
ENDED = frozenset({"SUCCEEDED", "FAILED", "SKIPPED", "CANCELLED"})
CLOSED = frozenset({"SUCCEEDED", "FAILED", "ABANDONED"})
_CLAIM = ("READY", "RUNNING")
_REFUSAL = ("READY", "FAILED")
RUN_TOO_LARGE = "RUN_TOO_LARGE"
_RUN_INVALID = "FLOW_RUN_INVALID"
_ENDS = {("RUNNING", "SUCCEEDED"), ("RUNNING", "FAILED")}
_WORKER_FIELDS = frozenset({"status", "outputs", "finishedAt", "error"})


def executable(run: Mapping[str, Any], step_id: str) -> bool:
    """Whether the worker is to claim the step."""
    steps = run["steps"]
    step = steps[step_id]
    if (
        run["status"] != "RUNNING"
        or step["stepType"] != LLM_REPORT
        or step["status"] != "READY"
    ):
        return False
    needed = step.get("dependsOn", [])
    unknown = any(name not in steps or name == step_id for name in needed)
    return unknown or all(steps[name]["status"] == "SUCCEEDED" for name in needed)


def run_violations(
    old: Document | None,
    new: Document | None,
    jobs: Mapping[str, "JobChange"],
    *,
    full: bool = False,
) -> Iterator[Violation]:
    """What is wrong with a worker's commit, as far as the run shows; `jobs` by step id.

    Where the run was `full`, a step may be refused in place of being claimed.
    """
    if old is None or new is None:
        yield Violation(Promise.ENDED_IS_ENDED, "a run was created or deleted by the worker")
        return
    before, after = old.fields, new.fields
    for name in before.keys() | after.keys():
        if name not in {"steps", "error"} and before.get(name) != after.get(name):
            yield Violation(Promise.ENDED_IS_ENDED, f"the run's {name} was changed")
    for step_id, step in after["steps"].items():
        if step != before["steps"].get(step_id):
            yield from _step_violations(before, step_id, step, jobs.get(step_id), full=full)


def _step_violations(
    run: Mapping[str, Any],
    step_id: str,
    new: Mapping[str, Any],
    job: "JobChange | None",
    *,
    full: bool,
) -> Iterator[Violation]:
    old = run["steps"].get(step_id, {})
    move = (old.get("status"), new["status"])
    changed = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    if not changed <= _WORKER_FIELDS:
        yield Violation(
            Promise.ENDED_IS_ENDED, f"{step_id}: {changed - _WORKER_FIELDS} changed"
        )
    if move == _CLAIM:
        if not executable(run, step_id):
            yield Violation(Promise.ENDED_IS_ENDED, f"{step_id} was claimed out of turn")
        if job is None or not job.is_claim:
            yield Violation(Promise.CALL_UNDER_LEASE, f"{step_id} was claimed without a job")
    elif move == _REFUSAL:
        if job is not None or not full or new["error"]["code"] != RUN_TOO_LARGE:
            yield Violation(Promise.ENDED_IS_ENDED, f"{step_id} was refused, and had room")
        if not executable(run, step_id):
            yield Violation(Promise.ENDED_IS_ENDED, f"{step_id} was refused out of turn")
    elif move in _ENDS:
        if job is None or job.is_claim or job.new["state"] != new["status"]:
            yield Violation(Promise.ENDED_IS_ENDED, f"{step_id} ended beside its job")
    else:
        yield Violation(Promise.ENDED_IS_ENDED, f"{step_id} was {move[0]}, became {move[1]}")


def foreign_violations(
    name: str, old: Document | None, new: Document | None
) -> Iterator[Violation]:
    """What is wrong with a worker's commit of a document that others keep.

    A job record that cannot be read may be looked at later, and a run that is none be told so,
    once. Everything else is theirs.
    """
    if old is None or new is None:
        yield Violation(Promise.ENDED_IS_ENDED, f"{name} of others was created or deleted")
        return
    before, after = old.fields, new.fields
    if before == after:
        yield Violation(Promise.ENDED_IS_ENDED, f"{name} of others was written for nothing")
    for field in before.keys() | after.keys():
        was: Any = before.get(field)
        became: Any = after.get(field)
        if was == became:
            continue
        later = field == "wakeAt" and isinstance(was, datetime) and became > was
        told = isinstance(was, Mapping) and was.get("code") == _RUN_INVALID
        says = field == "error" and not told and became.get("code") == _RUN_INVALID
        if not later and not says:
            yield Violation(Promise.ENDED_IS_ENDED, f"{field} of others' {name} was changed")


#: What operators may do to a step.
_ACTS = {("RUNNING", "CANCELLED"), ("FAILED", "READY"), ("CANCELLED", "READY")}


def act_violations(
    old: Document | None, new: Document | None, jobs: Mapping[str, "JobChange"]
) -> Iterator[Violation]:
    """What is wrong with an operator's commit, as far as the run shows; `jobs` by step id."""
    before: Any = old.fields if old else {"steps": {}}
    after: Any = new.fields if new else {"steps": {}}
    if {**before, "steps": 0} != {**after, "steps": 0}:
        yield Violation(Promise.ENDED_IS_ENDED, "an operator changed the run itself")
    for step_id in before["steps"].keys() | after["steps"].keys():
        was, became = before["steps"].get(step_id), after["steps"].get(step_id)
        if was == became:
            continue
        move, job = (was["status"], became["status"]), jobs.get(step_id)
        if move not in _ACTS:
            what = f"{step_id} was {move[0]}, an operator made it {move[1]}"
            yield Violation(Promise.ENDED_IS_ENDED, what)
        elif job is None or job.old is None or not job.remembers_act:
            yield Violation(Promise.ENDED_IS_ENDED, f"{step_id}: an act nobody remembers")
        elif became["status"] == "CANCELLED" and job.new["state"] not in CLOSED:
            yield Violation(Promise.ENDED_IS_ENDED, f"{step_id}: acted on beside its job")


def act_on_job_violations(change: "JobChange", now: datetime) -> Iterator[Violation]:
    """What is wrong with an operator's write of a job record."""
    old, new = change.old or {}, change.new
    same = ("claimId", "llmCalls", "eventId")
    if any(old.get(name) != new[name] for name in same) or not change.remembers_act:
        yield Violation(Promise.CALL_BUDGET, f"{change.key}: an act changed what is counted")
    if old.get("state") in CLOSED and new["state"] != old["state"]:
        yield Violation(Promise.ENDED_IS_ENDED, f"{change.key}: an act opened a closed job")
    if leased(old, now) and new["state"] != "ABANDONED":
        yield Violation(Promise.CALL_UNDER_LEASE, f"{change.key}: acted on under a lease")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobChange:
    """A job record before and after a commit."""

    key: str
    old: Mapping[str, Any] | None
    new: Mapping[str, Any]

    @property
    def is_claim(self) -> bool:
        """Whether a claim begins with this change."""
        return self.old is None or self.old["claimId"] != self.new["claimId"]

    @property
    def remembers_act(self) -> bool:
        """Whether the change records one more operator's act."""
        old = self.old or {}
        return bool(old.get("operatorActs", []) != self.new.get("operatorActs", []))

    @property
    def taken_by(self) -> str | None:
        """The owner of a lease that this change took."""
        owner = owner_of(self.new)
        return owner if self.is_claim or owner != owner_of(self.old or {}) else None


def owner_of(job: Mapping[str, Any]) -> str | None:
    """The owner that holds the lease, or held it last."""
    lease = job.get("lease")
    return lease["owner"] if lease else None


def leased(job: Mapping[str, Any], now: datetime) -> bool:
    """Whether the lease is still valid at this time."""
    lease = job.get("lease")
    return job["state"] == "RUNNING" and lease is not None and now < lease["expiresAt"]


def job_violations(
    change: JobChange, *, holds: bool, now: datetime, max_attempts: int, max_calls: int
) -> Iterator[Violation]:
    """What is wrong with a worker's write of a job record.

    Args:
        change: the record before and after.
        holds: whether the writer took the lease that the old record names.
        now: the latest time that the writer may have believed in.
        max_attempts: the budget of attempts.
        max_calls: the budget of model calls.
    """
    new = change.new
    if change.is_claim:
        if new["state"] != "QUEUED" or new["attempt"] or new["llmCalls"]:
            yield Violation(Promise.CALL_UNDER_LEASE, f"{change.key}: claimed half worked on")
        return
    old = change.old or {}
    if old["state"] in CLOSED:
        yield Violation(Promise.ENDED_IS_ENDED, f"{change.key}: a closed job was changed")
    if leased(old, now) and not holds:
        yield Violation(
            Promise.CALL_UNDER_LEASE, f"{change.key}: written under another's lease"
        )
    if change.taken_by is not None and new["attempt"] != old["attempt"] + 1:
        yield Violation(Promise.CALL_BUDGET, f"{change.key}: a lease without an attempt")
    if (new.get("lastError") or {}).get("code") == "INTERNAL_ERROR":
        yield Violation(Promise.EVERYTHING_ENDS, f"{change.key}: {new['lastError']}")
    if new["attempt"] > max_attempts:
        yield Violation(Promise.CALL_BUDGET, f"{change.key}: attempt {new['attempt']}")
    if new["llmCalls"] > max_calls:
        yield Violation(Promise.CALL_BUDGET, f"{change.key}: {new['llmCalls']} calls booked")
