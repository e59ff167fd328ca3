"""What one invocation works with: the leased job, the run as read, the deadline, the log."""

from collections.abc import Mapping
from dataclasses import dataclass

from executor.jobs.deadline import Deadline
from executor.jobs.lease import HeldJob
from executor.jobs.outcome import CallEnd
from shared.domain.documents import DocumentRef, Snapshot
from shared.domain.errors import TimeBudgetExceeded
from shared.domain.flow_run import MAX_LABEL_CHARS
from shared.domain.identifiers import StepId
from shared.domain.waiting import model_of
from shared.log import EventLogger, LogEvent

_SHORTEST_CALL_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One leased job with all that was read for it."""

    run: Snapshot
    registry: Mapping[DocumentRef, Snapshot | None]
    held: HeldJob
    deadline: Deadline
    log: EventLogger
    #: When it began, on the monotonic clock; the run was read at once.
    started: float
    #: The call whose end a hook announced; None where another thing woke the job.
    announced: str | None = None
    #: What the call in the background has come to that the job waited for, once it was looked.
    call_end: CallEnd | None = None

    @property
    def step_id(self) -> StepId:
        """The step that is worked on."""
        return self.held.record.step_id

    @property
    def model(self) -> str | None:
        """The model that the step names."""
        return model_of(self.run.data, self.step_id)

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
        available = self._available(share_of_reserve)
        if min(seconds, available) < at_least:
            left = max(0.0, available)
            self.log.warning(LogEvent.TIME_BUDGET_EXCEEDED, availableSeconds=left)
            raise TimeBudgetExceeded(f"{left:.1f} s are left before finalizing")
        return min(seconds, available)

    def has_seconds(self, seconds: float, *, share_of_reserve: float = 0.0) -> bool:
        """Whether a call could still begin after a wait of so long."""
        return self._available(share_of_reserve) - seconds >= _SHORTEST_CALL_SECONDS

    def _available(self, share_of_reserve: float) -> float:
        untouchable = (1 - share_of_reserve) * self.deadline.reserve_seconds
        return self.deadline.remaining() - untouchable


def run_labels(run: Snapshot | None, step_id: str) -> dict[str, str]:
    """The fields of its run that every log entry about the step carries."""
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
