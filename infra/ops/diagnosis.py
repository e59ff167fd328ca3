"""Why a step stands as it does, and what to do about it: pure, one rule a case."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from infra.ops.advice import advice_for
from shared.domain.flow_run import RunStatus
from shared.domain.jobs import JobState
from shared.domain.steps import StepStatus

#: The sweep runs every minute; what it has not mended by then, it does not see.
GRACE = timedelta(minutes=5)
_NO_WAY_FORWARD = frozenset(
    {StepStatus.FAILED, StepStatus.SKIPPED, StepStatus.CANCELLED, "missing"}
)
_CHECK_SWEEP = (
    "Look whether the sweep runs: `worker-llm doctor`, then `worker-llm dead-letters list`."
)


class Level(StrEnum):
    """How much a step wants an operator."""

    DONE = "done"  #: Ended well, or is not this worker's.
    WAITING = "waiting"  #: Goes on by itself.
    STUCK = "stuck"  #: Should have gone on by itself, and did not.
    FAILED = "failed"  #: Ended with an error.

    @property
    def rank(self) -> int:
        """The higher, the sooner an operator should look."""
        return list(Level).index(self)

    @property
    def wants_operator(self) -> bool:
        """Whether nothing more happens without one."""
        return self in {Level.STUCK, Level.FAILED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is to be said of a step, and what to do; no remedy where nothing is to be done."""

    level: Level
    reason: str
    remedy: str = ""

    def as_json(self) -> dict[str, Any]:
        """The finding as `--json` prints it."""
        return {"level": str(self.level), "reason": self.reason, "remedy": self.remedy}


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFacts:
    """What a diagnosis rests on; the statuses are as stored, also where no enum has them."""

    ours: bool
    status: str
    error_code: str | None
    run_status: str
    #: Step id -> status of each dependency; "missing" where the run has no such step.
    dependencies: Mapping[str, str]
    #: None: there is no job record.
    job_state: str | None
    attempt: int
    lease_expires_at: datetime | None
    not_before: datetime | None
    wake_at: datetime | None
    last_code: str | None
    #: Since when the step may have stood so, at the earliest.
    waiting_since: datetime | None


def diagnose(step: StepFacts, now: datetime) -> Finding:
    """What is to be said of the step at this moment."""
    match step.status:
        case StepStatus.SUCCEEDED | StepStatus.SKIPPED | StepStatus.CANCELLED:
            return Finding(level=Level.DONE, reason="")
        case StepStatus.FAILED:
            return _failed(step.error_code)
        case StepStatus.PENDING:
            return _waits("The orchestrator makes it READY when it wants it to run.")
        case StepStatus.READY | StepStatus.RUNNING:
            return _active(step, now)
        case _:
            return _stuck(
                "The status is none of the contract's.",
                "Have the orchestrator write a status that the contract knows.",
            )


def _failed(code: str | None) -> Finding:
    advice = advice_for(code or "")
    if advice is None:
        return Finding(level=Level.FAILED, reason="The code is not one of this worker's.")
    return Finding(level=Level.FAILED, reason=advice.meaning, remedy=advice.remedy)


def _active(step: StepFacts, now: datetime) -> Finding:
    if not step.ours:
        return _waits("Another worker executes steps of this type.")
    return _ready(step, now) if step.status == StepStatus.READY else _running(step, now)


def _ready(step: StepFacts, now: datetime) -> Finding:
    blocked = [
        f"{name} is {status}"
        for name, status in step.dependencies.items()
        if status in _NO_WAY_FORWARD
    ]
    if blocked:
        return _stuck(
            f"It can never start: {', '.join(blocked)}.",
            "Mend and rerun the dependency, or cancel this step.",
        )
    missing = [
        name for name, status in step.dependencies.items() if status != StepStatus.SUCCEEDED
    ]
    if missing:
        return _waits(f"Waits for {', '.join(missing)}.")
    if step.run_status != RunStatus.RUNNING:
        return _stuck(
            f"The run is {step.run_status}, and only steps of a RUNNING run are executed.",
            "Have the orchestrator set the run RUNNING, or cancel the step.",
        )
    if step.waiting_since is not None and now - step.waiting_since > GRACE:
        return _stuck("Its event was lost, and no sweep has claimed it since.", _CHECK_SWEEP)
    return _waits("Waits for the dispatcher; should its event be lost, the sweep claims it.")


def _running(step: StepFacts, now: datetime) -> Finding:
    match step.job_state:
        case None:
            return _stuck(
                "It is RUNNING and has no job record: this worker did not claim it.",
                "Cancel the step, then rerun it.",
            )
        case JobState.QUEUED:
            return _queued(step, now)
        case JobState.RUNNING:
            return _leased(step, now)
        case _:
            return _stuck(
                f"Its job is {step.job_state}, but the step was set RUNNING again by others.",
                "Cancel the step, then rerun it.",
            )


def _queued(step: StepFacts, now: datetime) -> Finding:
    after = f" after {step.last_code}" if step.last_code else ""
    if step.not_before is not None and step.not_before > now:
        # A moment and no countdown: it stays true, and `runs watch` tells it once.
        until = f"{step.not_before:%H:%M:%S} UTC"
        return _waits(f"Waits until {until} for attempt {step.attempt + 1}{after}.")
    due = step.wake_at or step.waiting_since
    if due is not None and now - due > GRACE:
        return _stuck(f"Nobody took the job up{after}, and no sweep woke it.", _CHECK_SWEEP)
    return _waits(f"Waits for an executor to take the job up{after}.")


def _leased(step: StepFacts, now: datetime) -> Finding:
    if step.lease_expires_at is None or step.lease_expires_at > now:
        return _waits(
            f"Attempt {step.attempt} is at work. Should it die, its lease is not renewed, and "
            "when that is over the next delivery or the sweep hands the job over."
        )
    if now - step.lease_expires_at > GRACE:
        return _stuck("Its executor died, and no sweep handed the job over.", _CHECK_SWEEP)
    return _waits("Its executor is gone: the next delivery or the sweep hands the job over.")


def _waits(reason: str) -> Finding:
    return Finding(level=Level.WAITING, reason=reason)


def _stuck(reason: str, remedy: str) -> Finding:
    return Finding(level=Level.STUCK, reason=reason, remedy=remedy)
