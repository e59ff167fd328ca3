"""The life of a step and of a job, drawn from their transition tables."""

from collections.abc import Mapping, Sequence
from enum import StrEnum

from infra.docs.diagram import Arrow, arrows_of, state_diagram
from infra.docs.markdown import member_comments, page, table
from shared.domain import jobs, steps

STEP_PICTURE, JOB_PICTURE = "states-step.svg", "states-job.svg"


def states_page() -> str:
    """`docs/reference/states.md`."""
    return page(
        "States",
        "shared/domain/steps.py and shared/domain/jobs.py",
        "The worker moves steps and jobs by these tables alone: any other move is refused and"
        " changes nothing.",
        "## A step of a flow run",
        _picture(STEP_PICTURE, "The states of a step, and who moves it", step_arrows()),
        _duties(steps.StepStatus),
        "## A job of the worker",
        _picture(JOB_PICTURE, "The states of a job, and its moves", job_arrows()),
        "A `claim` of a job that exists starts its record over, and fences off whoever still"
        " works under the former claim.",
        _duties(jobs.JobState),
    )


def states_pictures() -> Mapping[str, str]:
    """The diagrams of the page, by their names."""
    return {
        STEP_PICTURE: state_diagram("The states of a step", step_arrows()),
        JOB_PICTURE: state_diagram("The states of a job", job_arrows()),
    }


def step_arrows() -> Sequence[Arrow]:
    """The moves of a step: the worker's, the operator's, and those of the orchestrator."""
    by_orchestrator = "orchestrator"
    return [
        Arrow(None, "PENDING"),
        Arrow("PENDING", "READY", by_orchestrator),
        Arrow("PENDING", "SKIPPED", by_orchestrator),
        *arrows_of(steps.TRANSITIONS),
        *arrows_of(steps.OPERATOR_TRANSITIONS, by="operator: "),
    ]


def job_arrows() -> Sequence[Arrow]:
    """The moves of a job."""
    return [Arrow(None, "QUEUED", "claim"), *arrows_of(jobs.TRANSITIONS)]


def _picture(name: str, title: str, arrows: Sequence[Arrow]) -> str:
    """The picture, which says to whoever cannot see it what it shows."""
    told = "; ".join(
        f"{one.start} to {one.end} ({one.label})" for one in arrows if one.start is not None
    )
    return f"![{title}: {told}](../images/{name})"


def _duties(enum: type[StrEnum]) -> str:
    comments = member_comments(enum)
    rows = [(f"`{member}`", comments[member.name]) for member in enum]
    return table(["state", "who moves it out, also after a crash"], rows)
