"""Why a step stands as it does, and what to do about it: pure, one rule a case."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from infra.ops.runs import contract
from infra.ops.runs.advice import advice_for
from shared.domain.errors import ErrorCode
from shared.domain.flow_run import RunStatus
from shared.domain.jobs import JobState
from shared.domain.steps import StepStatus

#: The sweep runs every minute; what it has not mended by then, it does not see.
GRACE = timedelta(minutes=5)
_NO_WAY_FORWARD = frozenset(
    {StepStatus.FAILED, StepStatus.SKIPPED, StepStatus.CANCELLED, "missing"}
)
_ENDED = frozenset(
    {StepStatus.SUCCEEDED, StepStatus.FAILED, StepStatus.SKIPPED, StepStatus.CANCELLED}
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
    #: Why the worker refuses the whole run; None for one that it takes.
    run_problem: str | None = None
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
    #: The model that is being asked, and since when; None while none is.
    asked_model: str | None = None
    asked_since: datetime | None = None
    #: When its caller gives that call up; None where the record does not say.
    cut_off_at: datetime | None = None
    #: A call in the background whose answer is still to be fetched.
    waits_for_answer: bool = False
    #: Until when its patience with the provider lasts, while it stands in the queue.
    patience_until: datetime | None = None
    #: Jobs that were before it when it began to wait.
    before_in_queue: int = 0


def diagnose(step: StepFacts, now: datetime) -> Finding:
    """What is to be said of the step at this moment."""
    if step.ours and step.run_problem and step.status not in _ENDED:
        return of_refused_run(step.run_problem)
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


def of_refused_run(problem: str) -> Finding:
    """What is to be said of a run that the worker refuses, and of each of its open steps."""
    return _stuck(f"It can never go on: {problem}.", contract.REMEDY)


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
        case JobState.FAILED if step.last_code == ErrorCode.RUN_TOO_LARGE:
            return _stuck(
                "It ended, and the run's document has no room to say so: its job is closed.",
                contract.REMEDY,
            )
        case _:
            return _stuck(
                f"Its job is {step.job_state}, but the step was set RUNNING again by others.",
                "Cancel the step, then rerun it.",
            )


def _queued(step: StepFacts, now: datetime) -> Finding:
    after = f" after {step.last_code}" if step.last_code else ""
    if step.patience_until is not None:
        return _for_quota(step, step.patience_until, now)
    if step.not_before is not None and step.not_before > now:
        # A moment and no countdown: it stays true, and `runs watch` tells it once.
        until = f"{step.not_before:%H:%M:%S} UTC"
        if step.waits_for_answer:
            return _waits(
                f"Waits for an answer in the background, to be looked for at {until}."
            )
        return _waits(f"Waits until {until} for attempt {step.attempt + 1}{after}.")
    due = step.wake_at or step.waiting_since
    if due is not None and now - due > GRACE:
        return _stuck(f"Nobody took the job up{after}, and no sweep woke it.", _CHECK_SWEEP)
    return _waits(f"Waits for an executor to take the job up{after}.")


def _for_quota(step: StepFacts, until: datetime, now: datetime) -> Finding:
    if now - until > GRACE:
        return _stuck(
            "Its patience with the provider's refusals is over, and no sweep ended it.",
            _CHECK_SWEEP,
        )
    likely = step.not_before
    slot = f"slot at {likely:%H:%M:%S} UTC" if likely and likely > now else "slot soon"
    return _waits(
        f"Waits for the provider's quota: {slot}, {step.before_in_queue} before it,"
        f" patience until {until:%Y-%m-%d %H:%M:%S} UTC."
    )


def _leased(step: StepFacts, now: datetime) -> Finding:
    if step.lease_expires_at is None or step.lease_expires_at > now:
        if step.asked_since is not None:
            return _asking(step, step.asked_since)
        return _waits(
            f"Attempt {step.attempt} is at work. Should it die, its lease is not renewed, and "
            "when that is over the next delivery or the sweep hands the job over."
        )
    if now - step.lease_expires_at > GRACE:
        return _stuck("Its executor died, and no sweep handed the job over.", _CHECK_SWEEP)
    return _waits("Its executor is gone: the next delivery or the sweep hands the job over.")


def _asking(step: StepFacts, since: datetime) -> Finding:
    # Moments and no countdown, as for any wait.
    model, begun = step.asked_model or "the model", f"{since:%H:%M:%S} UTC"
    at_work = f"Attempt {step.attempt} is at work."
    if step.waits_for_answer:
        return _waits(f"{at_work} Waits for {model}, asked in the background at {begun}.")
    cut_off = f", cut off at {step.cut_off_at:%H:%M:%S} UTC" if step.cut_off_at else ""
    return _waits(f"{at_work} Asking {model} since {begun}{cut_off}.")


def _waits(reason: str) -> Finding:
    return Finding(level=Level.WAITING, reason=reason)


def _stuck(reason: str, remedy: str) -> Finding:
    return Finding(level=Level.STUCK, reason=reason, remedy=remedy)


_LEVEL_STYLES: Mapping[Level, str] = {
    Level.DONE: "dim",
    Level.WAITING: "dim",
    Level.STUCK: "bold yellow",
    Level.FAILED: "red",
}


def level_style(level: Level) -> str:
    """The style of what is said about a step."""
    return _LEVEL_STYLES[level]
