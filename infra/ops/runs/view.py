"""A run as an operator sees it: the run's document and the job records, put together. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from infra.ops.environment.stored_documents import (
    at,
    integer_at,
    map_at,
    number_at,
    text_at,
    time_at,
)
from infra.ops.runs.contract import contract_problem, room_problem
from infra.ops.runs.diagnosis import Finding, StepFacts, diagnose, of_refused_run
from infra.ops.runs.job_view import JobView, job_view, time_json
from shared.domain.flow_run import LLM_REPORT
from shared.domain.steps import StepStatus

TERMINAL = frozenset(
    {StepStatus.SUCCEEDED, StepStatus.FAILED, StepStatus.SKIPPED, StepStatus.CANCELLED}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepView:
    """How one step stands, and what to think of it."""

    step_id: str
    step_type: str
    status: str
    timeframe: str | None
    depends_on: Sequence[str]
    started_at: datetime | None
    finished_at: datetime | None
    age_seconds: int | None
    #: Of all model calls, failed ones included, as far as they are known.
    tokens: int | None
    cost_usd: float | None
    model: str | None
    prompt_id: str | None
    error_code: str | None
    error_message: str | None
    gcs_uri: str | None
    reused: bool
    charts_uri: str | None
    job: JobView | None
    finding: Finding

    @property
    def ours(self) -> bool:
        """Whether this worker executes the step."""
        return self.step_type == LLM_REPORT

    @property
    def ended(self) -> bool:
        """Whether the step is in a terminal status."""
        return self.status in TERMINAL

    def as_json(self) -> dict[str, Any]:
        """The step as `--json` prints it."""
        return {
            "stepId": self.step_id,
            "stepType": self.step_type,
            "status": self.status,
            "timeframe": self.timeframe,
            "dependsOn": list(self.depends_on),
            "startedAt": time_json(self.started_at),
            "finishedAt": time_json(self.finished_at),
            "ageSeconds": self.age_seconds,
            "tokens": self.tokens,
            "costUsd": self.cost_usd,
            "model": self.model,
            "error": self.error_code
            and {"code": self.error_code, "message": self.error_message},
            "gcsUri": self.gcs_uri,
            "reused": self.reused,
            "job": self.job and self.job.as_json(),
            "finding": self.finding.as_json(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """How one run stands."""

    run_id: str
    flow_key: str | None
    symbol: str | None
    status: str
    created_at: datetime | None
    error_code: str | None
    error_message: str | None
    #: Why the worker refuses the run; None for one that it takes.
    problem: str | None
    steps: Sequence[StepView]

    @property
    def ended(self) -> bool:
        """Whether nothing of the run is left to do for this worker."""
        return all(step.ended for step in self.steps if step.ours)

    @property
    def counts(self) -> Mapping[str, int]:
        """How many steps have each status that occurs, in the order of the contract."""
        found = [step.status for step in self.steps]
        return {str(status): n for status in StepStatus if (n := found.count(status))}

    @property
    def tokens(self) -> int:
        """All tokens of the run."""
        return sum(step.tokens or 0 for step in self.steps)

    @property
    def cost_usd(self) -> float | None:
        """What the steps cost whose models have a price; None where none has."""
        known = [step.cost_usd for step in self.steps if step.cost_usd is not None]
        return sum(known) if known else None

    @property
    def own_finding(self) -> Finding | None:
        """What is to be said of an open run that the worker refuses."""
        if self.problem is None or self.status in TERMINAL:
            return None
        return of_refused_run(self.problem)

    @property
    def worst(self) -> Finding | None:
        """The finding that wants an operator most; None when there is none."""
        wanting = [step.finding for step in self.steps if step.finding.level.wants_operator]
        wanting += [self.own_finding] if self.own_finding else []
        return max(wanting, key=lambda finding: finding.level.rank, default=None)

    def step(self, step_id: str) -> StepView | None:
        """The step of this id."""
        return next((step for step in self.steps if step.step_id == step_id), None)

    def as_json(self) -> dict[str, Any]:
        """The run as `runs show --json` prints it."""
        return {**self.summary_json(), "steps": [step.as_json() for step in self.steps]}

    def summary_json(self) -> dict[str, Any]:
        """The run as one of `runs list --json`."""
        return {
            "runId": self.run_id,
            "flowKey": self.flow_key,
            "symbol": self.symbol,
            "status": self.status,
            "createdAt": time_json(self.created_at),
            "stepCounts": dict(self.counts),
            "tokens": self.tokens,
            "costUsd": self.cost_usd,
            "error": self.error_code
            and {"code": self.error_code, "message": self.error_message},
            "finding": self.worst and self.worst.as_json(),
        }


def run_view(
    run_id: str, run: Mapping[str, Any], jobs: Mapping[str, Mapping[str, Any]], now: datetime
) -> RunView:
    """Put together a run's document and its job records, which are keyed by step id."""
    steps = map_at(run, "steps")
    problem = contract_problem(run_id, run)
    unclaimable = problem or room_problem(run_id, run)
    return RunView(
        run_id=run_id,
        flow_key=text_at(run, "flowKey"),
        symbol=text_at(run, "scope", "symbol"),
        status=str(at(run, "status")),
        created_at=time_at(run, "createdAt"),
        error_code=text_at(run, "error", "code"),
        error_message=text_at(run, "error", "message"),
        problem=problem,
        steps=[
            _step_view(
                name,
                run,
                jobs.get(name),
                now,
                unclaimable if at(steps[name], "status") == StepStatus.READY else problem,
            )
            for name in _in_order(steps)
        ],
    )


def _step_view(
    step_id: str,
    run: Mapping[str, Any],
    job_data: Mapping[str, Any] | None,
    now: datetime,
    run_problem: str | None,
) -> StepView:
    steps = map_at(run, "steps")
    step = steps[step_id]
    job = job_view(job_data) if job_data else None
    started = time_at(step, "outputs", "execution", "timing", "startedAt")
    finished = time_at(step, "finishedAt")
    # How long others worked on a step of theirs is not known.
    began = started or (None if finished else _ready_since(step, run))
    age = (finished or now) - began if began else None
    llm = map_at(step, "outputs", "execution", "llm")
    return StepView(
        step_id=step_id,
        step_type=str(at(step, "stepType")),
        status=str(at(step, "status")),
        timeframe=text_at(step, "timeframe"),
        depends_on=_needs(step),
        started_at=started,
        finished_at=finished,
        age_seconds=round(age.total_seconds()) if age else None,
        tokens=_tokens(step),
        cost_usd=number_at(step, "outputs", "execution", "accounting", "costUsd"),
        model=text_at(llm, "modelVersion") or _asked_model(job),
        prompt_id=text_at(step, "inputs", "llm", "promptId"),
        error_code=text_at(step, "error", "code"),
        error_message=text_at(step, "error", "message"),
        gcs_uri=text_at(step, "outputs", "gcs_uri"),
        reused=at(step, "outputs", "execution", "reused") is True,
        charts_uri=_charts_uri(step, steps),
        job=job,
        finding=diagnose(_facts(step, run, job, began, run_problem), now),
    )


def _asked_model(job: JobView | None) -> str | None:
    return job.open_call.model if job and job.open_call else None


def _facts(
    step: object,
    run: Mapping[str, Any],
    job: JobView | None,
    began: datetime | None,
    run_problem: str | None,
) -> StepFacts:
    call = job.open_call if job else None
    return StepFacts(
        ours=at(step, "stepType") == LLM_REPORT,
        status=str(at(step, "status")),
        error_code=text_at(step, "error", "code"),
        run_status=str(at(run, "status")),
        run_problem=run_problem,
        dependencies={
            name: str(at(run, "steps", name, "status") or "missing") for name in _needs(step)
        },
        job_state=job.state if job else None,
        attempt=job.attempt if job else 0,
        lease_expires_at=job.lease_expires_at if job else None,
        not_before=job.not_before if job else None,
        wake_at=job.wake_at if job else None,
        last_code=job.last_code if job else None,
        waiting_since=began,
        asked_model=call.model if call else None,
        asked_since=call.started_at if call else None,
        cut_off_at=call.cut_off_at if call else None,
        waits_for_answer=job.waits_for_answer if job else False,
        patience_until=job.patience_until if job else None,
        before_in_queue=job.before_in_queue if job else 0,
    )


def _ready_since(step: object, run: Mapping[str, Any]) -> datetime | None:
    """The earliest moment from which the step can have been executable, if any is known."""
    moments = [time_at(run, "steps", name, "finishedAt") for name in _needs(step)]
    known = [moment for moment in (time_at(run, "updatedAt"), *moments) if moment]
    return max(known, default=time_at(run, "createdAt"))


def _tokens(step: object) -> int | None:
    """Of all calls; of the last one alone for a step that was ended before these were kept."""
    counts = map_at(step, "outputs", "execution", "accounting", "tokens")
    if counts:
        return sum(integer_at(counts, name) or 0 for name in ("input", "output", "thought"))
    llm = map_at(step, "outputs", "execution", "llm", "usageMetadata")
    return integer_at(llm, "totalTokenCount")


def _charts_uri(step: object, steps: Mapping[str, Any]) -> str | None:
    outputs = map_at(steps, text_at(step, "inputs", "chartsManifestStepId") or "", "outputs")
    return text_at(outputs, "gcs_uri") or text_at(outputs, "outputsManifestGcsUri")


def _in_order(steps: Mapping[str, Any]) -> Iterator[str]:
    """The step ids, each behind those it depends on, as far as that is possible."""
    left = sorted(steps)
    done: set[str] = set()
    while left:
        free = [name for name in left if done.issuperset(_known(steps, name))]
        # Steps that depend on each other in a circle have no order: they come as they are.
        layer = free or left
        yield from layer
        done |= set(layer)
        left = [name for name in left if name not in done]


def _known(steps: Mapping[str, Any], step_id: str) -> set[str]:
    return {name for name in _needs(steps[step_id]) if name in steps}


def _needs(step: object) -> tuple[str, ...]:
    needed = at(step, "dependsOn")
    return tuple(str(name) for name in needed) if isinstance(needed, list) else ()
