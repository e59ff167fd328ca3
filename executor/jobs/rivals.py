"""What the other steps of a run mean for the end of one of them: pure decisions.

All ends of a run's steps write one document, each guarded by the version that it was decided
on. An end on an old version costs a refused commit, a read and another commit; to read first
costs a read.
"""

from collections import OrderedDict, deque
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
#: So many of the last steps tell how long a step takes.
_REMEMBERED = 64
#: Of so many flows, those that ended a step last.
_FLOWS = 64
_EVEN_CHANCE = 0.5


class StepTimes:
    """How long after their runs were read the last steps of this process came to their end.

    Each flow has its own times: a step is early or late among the steps of its run, whatever
    other flows take.
    """

    def __init__(self) -> None:
        self._flows: OrderedDict[str | None, deque[float]] = OrderedDict()

    def slower_than(self, seconds: float, *, flow: str | None) -> float:
        """The share of the flow's last steps that took longer, and of one that did not.

        So a few steps prove little.
        """
        known = self._flows.get(flow, ())
        return sum(each > seconds for each in known) / (len(known) + 1)

    def remember(self, seconds: float, *, flow: str | None) -> None:
        """Another step of this flow took so long."""
        self._flows.setdefault(flow, deque(maxlen=_REMEMBERED)).append(seconds)
        self._flows.move_to_end(flow)
        if len(self._flows) > _FLOWS:
            self._flows.popitem(last=False)


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


def reads_first(elsewhere: int, *, newest_known: bool, slower: float) -> bool:
    """Whether to read the run again before its step is ended.

    An end on an old version costs two calls more than one on the newest, and to read first
    costs one: the read pays unless most likely no rival has written the run since. Where many
    all end early, several would take themselves for the first.

    Args:
        elsewhere: rivals that do not wait in this process for their turn to end.
        newest_known: whether a step of this process has just written the run.
        slower: see `StepTimes.slower_than`.
    """
    if elsewhere <= 0 or newest_known:
        return False
    return elsewhere > FEW or slower**elsewhere <= _EVEN_CHANCE


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
