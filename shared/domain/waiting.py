"""A job that waits for room at the provider: its place in the queue, and its patience. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.domain.documents import value_at
from shared.domain.flow_run import LLM_REPORT, step_field
from shared.domain.identifiers import StepId, is_model_name
from shared.domain.steps import StepStatus
from shared.domain.times import parse_time

#: So far apart are the turns of two steps of one run: as long as a slot is away at thirty calls
#: a minute. A run of many steps leaves room between them for the runs that come later.
TURN_APART = timedelta(seconds=2)
#: How long a slot may be used: as long as its message may take, and a cold start.
SLOT_LASTS = timedelta(minutes=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What a job knows of its wait for the provider."""

    #: The pace that it waits for; see `pace_documents.pace_place`.
    place: str
    since: datetime
    #: Then its patience ends, and with it the step.
    until: datetime
    #: The queue's order: the earliest `due_at`, then the earliest `turn`.
    due_at: datetime
    turn: datetime
    #: From then on it may be called at a dearer service tier, and waits here no longer.
    dearer_at: datetime | None = None
    #: Jobs before it when it began to wait, as far as was known.
    before: int = 0
    #: It was let out of the queue, and may call until then.
    slot_until: datetime | None = None
    #: When the provider refused its call; None where it was not let to call.
    refused_at: datetime | None = None
    #: When the provider said that it may be asked again.
    retry_at: datetime | None = None

    @property
    def queued(self) -> bool:
        """Whether it stands in the queue."""
        return self.slot_until is None

    def has_slot(self, now: datetime) -> bool:
        """Whether it may call now."""
        return self.slot_until is not None and now < self.slot_until

    def has_slot_at(self, place: str, now: datetime) -> bool:
        """Whether it may call now, and there."""
        return self.place == place and self.has_slot(now)

    @property
    def looked_at(self) -> datetime:
        """When somebody must see to the job, should it never get a slot."""
        return min(self.until, self.dearer_at or self.until)

    def may_go_dearer(self, now: datetime) -> bool:
        """Whether it stands in the queue, and need not any more."""
        return self.queued and self.dearer_at is not None and now >= self.dearer_at

    def queue_key(self, job_id: str) -> str:
        """Its place in the queue, as text that sorts: by pace, then by order."""
        return f"{self.place}|{_sortable(self.due_at)}|{_sortable(self.turn)}|{job_id}"


def queue_range(place: str) -> tuple[str, str]:
    """All keys of the queue of a pace stand between these two."""
    return f"{place}|", f"{place}}}"


def begin_waiting(
    *,
    place: str,
    run: Mapping[str, Any],
    step_id: StepId,
    claimed_at: datetime,
    now: datetime,
    patience: timedelta,
) -> Waiting:
    """The wait of a job that has not waited before.

    A step that is due waits until then, any other for the patience from its claim. A `dueAt`
    before the claim, as of a step that is run again, orders it and does not end its patience.
    """
    due_at = step_due_at(run, step_id)
    apart = _rank(run, step_id) * TURN_APART
    return Waiting(
        place=place,
        since=now,
        until=patience_ends(run, step_id, claimed_at, patience),
        due_at=due_at if due_at is not None else claimed_at + patience + apart,
        turn=claimed_at + apart,
    )


def patience_used(waiting: Waiting, claimed_at: datetime, now: datetime) -> float:
    """Which share of its patience a job has waited, from its claim; 1 when that is over."""
    whole = waiting.until - claimed_at
    return min(1.0, max(0.0, (now - claimed_at) / whole)) if whole > timedelta(0) else 1.0


def patience_ends(
    run: Mapping[str, Any], step_id: StepId, claimed_at: datetime, patience: timedelta
) -> datetime:
    """Until when a step waits for room at the provider; see `begin_waiting`."""
    due_at = step_due_at(run, step_id)
    return due_at if due_at is not None and due_at > claimed_at else claimed_at + patience


def step_due_at(run: Mapping[str, Any], step_id: StepId) -> datetime | None:
    """The step's `inputs.llm.dueAt`, where it is a time."""
    return parse_time(value_at(run, step_field(step_id, "inputs", "llm", "dueAt")))


def model_of(run: Mapping[str, Any], step_id: StepId) -> str | None:
    """The model that the step names, where it is a name."""
    profile = value_at(run, step_field(step_id, "inputs", "llm", "llmProfile"))
    if not isinstance(profile, Mapping):
        return None
    name = profile.get("modelName") or profile.get("model")
    return name if is_model_name(name) else None


def service_tier_of(run: Mapping[str, Any], step_id: StepId) -> str | None:
    """The service tier that the step names, whatever it is."""
    named = value_at(run, step_field(step_id, "inputs", "llm", "llmProfile", "serviceTier"))
    return named if isinstance(named, str) else None


def _rank(run: Mapping[str, Any], step_id: StepId) -> int:
    """How many steps of the run that are at work come before this one."""
    steps = run.get("steps")
    if not isinstance(steps, Mapping):
        return 0
    return sum(
        name < step_id
        for name, step in steps.items()
        if isinstance(step, Mapping)
        and step.get("stepType") == LLM_REPORT
        and step.get("status") == StepStatus.RUNNING
    )


def _sortable(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
