"""When to look for the answer to a call in the background.

The first look is due when a call of the model has likely ended, by what this process has seen;
looks in vain are ever further apart. So their number grows with the logarithm of the time that
the model takes: of a call of an hour, 16 at most, and usually one.

Where the ends of calls are announced, a look is for the hook that does not come: it can wait
for as long as hooks come.
"""

from collections import defaultdict, deque
from dataclasses import dataclass, field
from datetime import timedelta

#: The first look of a process that has seen no call of the model end.
FIRST_LOOK = timedelta(seconds=20)
SHORTEST_PAUSE = timedelta(seconds=10)
#: Up to this pause, a look comes at most half of the call's time late; beyond, a tenth.
LONG_PAUSE = timedelta(minutes=10)
#: So many of the latest calls are remembered, by model.
_REMEMBERED = 20
#: This part of them had ended when they were looked at.
_LIKELY = 0.8


def pause_after(at_work: timedelta, *, seen: bool) -> timedelta:
    """How long to wait after a look in vain at a call that has been at work for so long.

    Where the look itself failed, the answer may well be there.
    """
    usual = min(at_work / 2, LONG_PAUSE) if seen else timedelta(0)
    return max(SHORTEST_PAUSE, usual, at_work / 10)


def unhurried(likely: timedelta, *, left: timedelta, longest: timedelta) -> timedelta:
    """After how long to look for an answer that a hook will most likely announce.

    Args:
        likely: after how long the call has likely ended.
        left: from the call's beginning until its report is due. Half of it is waited for the
            hook: where none comes, the other half is left to fetch the answer.
        longest: after so long a call is given up.
    """
    return max(likely, min(left / 2, longest))


@dataclass(slots=True)
class LookTimes:
    """How long the latest calls took, by model, as far as this process knows."""

    #: Whether the latest answer was fetched because a hook had announced it.
    hooks_come: bool = False
    _took: defaultdict[str | None, deque[timedelta]] = field(
        default_factory=lambda: defaultdict(lambda: deque(maxlen=_REMEMBERED))
    )

    def learn(self, model: str | None, took: timedelta) -> None:
        """Take in how long the model worked on a call."""
        self._took[model].append(took)

    def likely(self, model: str | None) -> timedelta:
        """After how long a call of the model has likely ended."""
        known = sorted(self._took.get(model, ()))
        if not known:
            return FIRST_LOOK
        return max(SHORTEST_PAUSE, known[int(_LIKELY * len(known))])
