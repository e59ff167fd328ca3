"""Operators: the command line's own code, in processes that die as all others do."""

from dataclasses import dataclass
from datetime import timedelta

from infra.ops.dead_letters.box import BoxUnavailable, DeadLetterBox, pulled
from infra.ops.dead_letters.letter import ReplayRules
from infra.ops.dead_letters.replay import Replay
from infra.ops.runs.reading import NotFound
from infra.ops.steps.acts import ActRefused, perform
from shared.domain.attempts import OperatorAct
from shared.domain.documents import DocumentRef
from shared.domain.identifiers import StepId
from shared.domain.steps import OperatorMove
from shared.ports import Clock, DocumentStore, PortFailure, Queue
from tests.simulation.delivery import FLOW_RUNS

#: The rules of a replay, as the command line has them.
_RULES = ReplayRules(rerun=True, call_budget=5, wake_after=timedelta(minutes=5))
_MOST_LETTERS = 10
_PER_SECOND = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """`worker-llm steps cancel`."""

    run_id: str
    step_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerun:
    """`worker-llm steps rerun`."""

    run_id: str
    step_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayLetters:
    """`worker-llm dead-letters replay --rerun`."""


Command = Cancel | Rerun | ReplayLetters


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """Runs one command after the other."""

    documents: DocumentStore
    jobs: Queue
    box: DeadLetterBox
    clock: Clock

    async def run(self, command: Command) -> None:
        """Run the command; a refusal or lost answer is told to a human, and changes nothing."""
        try:
            match command:
                case Cancel():
                    await self._act(OperatorMove.CANCEL, command.run_id, command.step_id)
                case Rerun():
                    await self._act(OperatorMove.RERUN, command.run_id, command.step_id)
                case ReplayLetters():
                    await self._replay()
        except (ActRefused, NotFound, PortFailure, BoxUnavailable):
            return

    async def _act(self, move: OperatorMove, run_id: str, step_id: str) -> None:
        act = OperatorAct(act=str(move), at=self.clock.now(), reason="simulated")
        run_ref = DocumentRef(FLOW_RUNS, run_id)
        await perform(move, self.documents, run_ref, StepId(step_id), act)

    async def _replay(self) -> None:
        replay = Replay(
            documents=self.documents,
            flow_runs=FLOW_RUNS,
            jobs=self.jobs,
            box=self.box,
            clock=self.clock,
            rules=_RULES,
        )
        async with pulled(self.box, _MOST_LETTERS) as held:
            letters = [each.letter for each in held.values()]
            async for _ in replay.run(held, letters, per_second=_PER_SECOND):
                pass
