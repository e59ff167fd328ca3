"""What the other steps of a run mean for the end of one of them: pure decisions.

All ends of a run's steps write one document, each guarded by the version that it was decided
on. An end on an old version costs a refused commit, a read and another commit; to read first
costs a read.
"""

from collections.abc import Mapping
from typing import Any

from shared.domain.identifiers import StepId
from shared.domain.steps import StepStatus

_AT_WORK = (StepStatus.READY, StepStatus.RUNNING)
#: What a read and a guarded commit take where nothing is slow. Another commit in between
#: refuses this one.
SLOT_SECONDS = 0.05
#: So few rivals seldom end in the same moment, and one lost race costs less than to wait.
FEW = 3
#: The lease goes on meanwhile and is not renewed.
LONGEST_SPREAD_SECONDS = 10.0


def rivals(run: Mapping[str, Any], step_id: StepId) -> int:
    """How many other steps somebody worked at when the run was read.

    Steps of other types count too: their workers write the same document.
    """
    steps = run.get("steps")
    return sum(
        isinstance(step, Mapping) and step.get("status") in _AT_WORK
        for name, step in (steps.items() if isinstance(steps, Mapping) else ())
        if name != step_id
    )


def reads_first(elsewhere: int, *, newest_known: bool) -> bool:
    """Whether to read the run again before its step is ended.

    With one rival that works as long as we do, either is as likely to have ended first. With
    more of them, somebody has probably written the run since.

    Args:
        elsewhere: rivals that do not wait in this process for their turn to end.
        newest_known: whether a step of this process has just written the run.
    """
    return elsewhere > 0 and not newest_known


def first_spread(elsewhere: int) -> float:
    """Over how many seconds the first commits of so many rivals and of ours are spread.

    A document bears one write a second for long (https://cloud.google.com/firestore/quotas):
    where many end at once, none loses by waiting.
    """
    return spread(max(0, elsewhere - FEW), slot_seconds=SLOT_SECONDS)


def spread(elsewhere: int, *, slot_seconds: float) -> float:
    """Over how many seconds so many rivals spread their next commits after a lost race.

    Args:
        elsewhere: see `reads_first`.
        slot_seconds: what the lost try took, from its reading on.
    """
    slot = max(slot_seconds, SLOT_SECONDS)
    return min(slot * max(0, elsewhere), LONGEST_SPREAD_SECONDS)
