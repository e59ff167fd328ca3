"""What anybody other than the worker does to the first step of the first run."""

from dataclasses import dataclass
from typing import Any

from shared.domain.documents import DocumentRef, FieldPath
from tests.schedules.scenes import Act
from tests.simulation.delivery import FLOW_RUNS, Stage
from tests.simulation.letters import DeadLetters
from tests.simulation.operators import Cancel, Command, ReplayLetters, Rerun
from tests.simulation.orchestrator import Orchestrator, _cancelled, _reopened
from tests.simulation.process import Request
from tests.simulation.promises import ENDED

_BY_OPERATORS = frozenset({Act.OPERATOR_CANCELS, Act.OPERATOR_RERUNS, Act.REPLAY})
_ON_ENDED = frozenset({Act.RERUN, Act.CHANGE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Others:
    """Carries out the acts of everybody other than the worker."""

    orchestrator: Orchestrator
    operators: Stage
    dead_letters: DeadLetters

    def can(self, act: Act) -> bool:
        """Whether the act makes sense in the present state."""
        if act is Act.REPLAY:
            return bool(self.dead_letters.letters)
        status = self._steps()[self._step_id]["status"]
        if act is Act.OPERATOR_CANCELS:
            return bool(status == "RUNNING")
        if act is Act.OPERATOR_RERUNS:
            return status in {"FAILED", "CANCELLED"}
        return act not in {Act.CANCEL, *_ON_ENDED} or (status in ENDED) == (act in _ON_ENDED)

    def act(self, act: Act) -> Request | None:
        """Carry out the act; return an operator's request, if it is an operator's act."""
        if act in _BY_OPERATORS:
            return self.operators.start(self._command(act))
        if act is Act.CHANGE:
            self.orchestrator._rerun_on_other_inputs(self._run_id, self._step_id)
        else:
            self.orchestrator._write(self._run_id, self._changes(act))
        return None

    def _command(self, act: Act) -> Command:
        if act is Act.OPERATOR_CANCELS:
            return Cancel(run_id=self._run_id, step_id=self._step_id)
        if act is Act.OPERATOR_RERUNS:
            return Rerun(run_id=self._run_id, step_id=self._step_id)
        return ReplayLetters()

    def _changes(self, act: Act) -> dict[FieldPath, Any]:
        match act:
            case Act.TOUCH:
                return {("progress", "seen"): 1}
            case Act.CANCEL:
                return {("steps", self._step_id, "status"): "CANCELLED"}
            case Act.CANCEL_RUN:
                return {("status",): "CANCELLED", **_cancelled(self._steps())}
            case Act.CLOSE_RUN:
                return {("status",): "CANCELLED"}
            case _:
                return _reopened(self._step_id)

    @property
    def _run_id(self) -> str:
        return next(iter(self.orchestrator.scenario.runs))

    @property
    def _step_id(self) -> str:
        return self.orchestrator.scenario.runs[self._run_id][0].step_id

    def _steps(self) -> Any:
        run = self.orchestrator.records.present(DocumentRef(FLOW_RUNS, self._run_id))
        return run.fields["steps"] if run else {}
