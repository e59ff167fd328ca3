"""What one invocation works with: the leased job, the run as read, the deadline, the log."""

from collections.abc import Mapping
from dataclasses import dataclass

from executor.lease import HeldJob
from shared.domain.deadline import Deadline
from shared.domain.documents import DocumentRef, Snapshot
from shared.domain.errors import TimeBudgetExceeded
from shared.domain.flow_run import MAX_LABEL_CHARS
from shared.events import Event, EventLogger
from shared.ports import Clock

_SHORTEST_CALL_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One leased job with all that was read for it."""

    run: Snapshot
    registry: Mapping[DocumentRef, Snapshot | None]
    held: HeldJob
    deadline: Deadline
    clock: Clock
    log: EventLogger

    def seconds_for(
        self,
        seconds: float,
        *,
        at_least: float = _SHORTEST_CALL_SECONDS,
        share_of_reserve: float = 0.0,
    ) -> float:
        """How long the next call may take, at most `seconds`.

        Storing a report that was paid for may use a share of the finalize reserve.

        Raises:
            TimeBudgetExceeded: less than `at_least` is left before the reserve begins.
        """
        untouchable = (1 - share_of_reserve) * self.deadline.reserve_seconds
        available = self.deadline.remaining(self.clock.monotonic()) - untouchable
        if min(seconds, available) < at_least:
            left = max(0.0, available)
            self.log.warning(Event.TIME_BUDGET_EXCEEDED, availableSeconds=left)
            raise TimeBudgetExceeded(f"{left:.1f} s are left before finalizing")
        return min(seconds, available)


def known_of_run(run: Snapshot | None, step_id: str) -> dict[str, str]:
    """What every entry about the step says of its run, as far as the run holds it."""
    data = run.data if run else {}
    steps, scope = data.get("steps"), data.get("scope")
    step = steps.get(step_id) if isinstance(steps, Mapping) else None
    known = {
        "flowKey": data.get("flowKey"),
        "timeframe": step.get("timeframe") if isinstance(step, Mapping) else None,
        "symbol": scope.get("symbol") if isinstance(scope, Mapping) else None,
    }
    return {
        name: value[:MAX_LABEL_CHARS] for name, value in known.items() if isinstance(value, str)
    }
