"""The life of a step and of a job, drawn from their transition tables."""

from collections.abc import Mapping, Sequence
from enum import StrEnum

from infra.docs.diagram import Arrow, arrows_of, state_diagram
from infra.docs.markdown import member_comments, page, table
from shared.domain import jobs, steps

#: Fields of the record, the state, what the job waits for, and who moves it on.
WAITS = (
    (
        "`queue`",
        "`QUEUED`",
        (
            "A slot at the provider, which refused a call or is known to be"
            " full: since `waiting.since`, behind `waiting.before` others, in the order of"
            " `waiting.dueAt` and `waiting.turn`."
        ),
        (
            "The sweep: it grants a slot and publishes the job,"
            " or fails the step at `waiting.until`, when its patience ends."
        ),
    ),
    (
        "`waiting.slotUntil`",
        "`QUEUED`",
        "An executor that uses the slot before it is over.",
        "An executor that gets its message; the sweep publishes it again.",
    ),
    (
        "`interaction`",
        "`QUEUED`, `RUNNING`",
        (
            "The answer to a call in the background, begun at"
            " `interaction.begunAt`: it waits at the provider, whatever becomes of the"
            " executor."
        ),
        (
            "The sweep wakes the job at `notBefore`; an executor looks for the answer, and pays"
            " for no other call meanwhile."
        ),
    ),
    (
        "`notBefore` and `lastError`",
        "`QUEUED`",
        "Another attempt, after one that failed and may pass.",
        "Pub/Sub delivers the message again; the sweep wakes the job.",
    ),
    (
        "`lease`",
        "`RUNNING`",
        (
            "The holder's work. A call under way is the last of"
            " `history[].calls[]`: it has `startedAt` and no `endedAt`, and its caller gives it"
            " up at `cutOffAt`."
        ),
        "The holder; after `lease.expiresAt` whoever comes next.",
    ),
)

STEP_PICTURE, JOB_PICTURE = "states-step.svg", "states-job.svg"


def states_page() -> str:
    """`docs/reference/states.md`."""
    return page(
        "States",
        "shared/domain/steps.py, shared/domain/jobs.py and infra/docs/states.py",
        "The worker moves steps and jobs by these tables alone: any other move is refused and"
        " changes nothing.",
        "## A step of a flow run",
        _picture(STEP_PICTURE, "The states of a step, and who moves it", step_arrows()),
        _duties(steps.StepStatus),
        "## A job of the worker",
        _picture(JOB_PICTURE, "The states of a job, and its moves", job_arrows()),
        "A `claim` of a job that exists starts its record over, and fences off an executor that"
        " still works under the former claim.",
        _duties(jobs.JobState),
        "## What an open job waits for",
        "The state alone does not say it: these fields of the record do."
        " The console and `worker-llm steps show` put them into a sentence.",
        table(["the record has", "in state", "what it waits for", "who moves it on"], WAITS),
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
    """The picture, with a text for readers who cannot see it."""
    told = "; ".join(
        f"{one.start} to {one.end} ({one.label})" for one in arrows if one.start is not None
    )
    return f"![{title}: {told}](../images/{name})"


def _duties(enum: type[StrEnum]) -> str:
    comments = member_comments(enum)
    rows = [(f"`{member}`", comments[member.name]) for member in enum]
    return table(["state", "who moves it out, also after a crash"], rows)
