"""The life of a step and of a job, drawn from their transition tables."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from infra.docs.markdown import member_comments, page, table
from shared.domain import jobs, steps


def states_page() -> str:
    """`docs/reference/states.md`."""
    others = [
        "    [*] --> PENDING",
        "    PENDING --> READY: orchestrator",
        *_arrows(steps.OPERATOR_TRANSITIONS, by="operator: "),
    ]
    return page(
        "States",
        "shared/domain/steps.py and shared/domain/jobs.py",
        "The worker moves steps and jobs by these tables alone: any other move is refused and"
        " changes nothing.",
        "## A step of a flow run",
        _diagram([*others, *_arrows(steps.TRANSITIONS)]),
        _duties(steps.StepStatus),
        "## A job of the worker",
        _diagram(["    [*] --> QUEUED: claim", *_arrows(jobs.TRANSITIONS)]),
        "A `claim` of a job that exists starts its record over, and fences off whoever still"
        " works under the former claim.",
        _duties(jobs.JobState),
    )


def _arrows(transitions: Mapping[Any, Mapping[Any, Any]], *, by: str = "") -> Iterator[str]:
    for state, moves in transitions.items():
        for move, target in moves.items():
            yield f"    {state} --> {target}: {by}{move}"


def _diagram(arrows: list[str]) -> str:
    return "\n".join(["```mermaid", "stateDiagram-v2", *arrows, "```"])


def _duties(enum: type[StrEnum]) -> str:
    comments = member_comments(enum)
    rows = [(f"`{member}`", comments[member.name]) for member in enum]
    return table(["state", "who moves it out, also after a crash"], rows)
