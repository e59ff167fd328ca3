"""Executes cells, a few at a time, until all have ended or the ceiling is reached."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from infra.ops.evaluation.asking.answers import CellAnswer
from infra.ops.evaluation.asking.cells import Endpoint, EvaluationCell
from infra.ops.evaluation.asking.pace import EvaluationPace
from infra.ops.evaluation.asking.planning import EvaluationPlan, PlannedCell
from shared.domain.errors import ErrorCode


@dataclass(slots=True, kw_only=True)
class Execution:
    """Executes a plan's cells."""

    #: The deployed executor on a cell's ports.
    endpoint: Callable[[EvaluationCell], Endpoint]
    pace: EvaluationPace
    parallel: int
    #: Told after each cell that has ended.
    progress: Callable[[], None] = lambda: None
    #: Set once a call did not fit under the ceiling: no further cell is begun.
    ceiling_reached: bool = False
    #: By cell, all that was answered so far.
    answers: dict[str, CellAnswer] = field(default_factory=dict)

    async def run(self, cells: Sequence[PlannedCell]) -> Mapping[str, CellAnswer]:
        """The answers by cell; a cell that did not end has none."""
        room = asyncio.Semaphore(self.parallel)
        async with asyncio.TaskGroup() as group:
            for planned in cells:
                group.create_task(self._one(planned, room))
        return self.answers

    async def _one(self, planned: PlannedCell, room: asyncio.Semaphore) -> None:
        async with room:
            if self.ceiling_reached:
                return
            cell = planned.cell
            answer = await cell.execute(self.endpoint(cell), self.pace.turn)
            if answer is not None:
                self.answers[cell.cell_id] = answer
                if answer.error_code == ErrorCode.COST_CEILING_EXCEEDED:
                    self.ceiling_reached = True
            self.progress()


def answers_by_variant(
    plan: EvaluationPlan, executed: Mapping[str, CellAnswer]
) -> Mapping[str, Mapping[str, CellAnswer]]:
    """By case and variant: what was known, stored, or has just been answered."""
    together: dict[str, dict[str, CellAnswer]] = {}
    for planned in plan.cases:
        answers = together.setdefault(planned.case.case_id, {})
        for variant in plan.variants:
            if variant.stored:
                answer = planned.stored
            else:
                cell = planned.cells[variant.name]
                answer = cell.known or executed.get(cell.cell.cell_id)
            if answer is not None:
                answers[variant.name] = answer
    return together
