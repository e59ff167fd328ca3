"""What is to be asked: every case proved, every cell named by the digest of its inputs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from executor.contract.canonical import sha256_hex
from infra.failures import CannotBeDone
from infra.ops.evaluation.asking.answers import CellAnswer
from infra.ops.evaluation.asking.bench import Bench
from infra.ops.evaluation.asking.cells import EvaluationCell, begins_anew, stored_answer
from infra.ops.evaluation.asking.forecast import Cost
from infra.ops.evaluation.asking.proof import inputs_of, prove
from infra.ops.evaluation.asking.variants import Variant, as_the_report, asked_by
from infra.ops.evaluation.cases.case import Case, pinned_bytes
from infra.ops.evaluation.cases.pinning import CaseExcluded


class NothingToEvaluate(CannotBeDone):
    """No case is left; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCell:
    """One cell, and what came of it in an earlier evaluation."""

    cell: EvaluationCell
    model: str
    cost: Cost
    #: None where it is to be asked, or asked again.
    known: CellAnswer | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCase:
    """A case with the cells of its variants, and its stored report."""

    case: Case
    stored: CellAnswer | None
    #: By variant; none for the stored report, which is no cell.
    cells: Mapping[str, PlannedCell]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationPlan:
    """All that an evaluation does."""

    variants: Sequence[Variant]
    cases: Sequence[PlannedCase]
    #: By case: why it is left out.
    excluded: Mapping[str, str]

    @property
    def to_ask(self) -> Sequence[PlannedCell]:
        """The cells that are not answered yet."""
        return [
            cell for each in self.cases for cell in each.cells.values() if cell.known is None
        ]

    @property
    def reused(self) -> int:
        """How many cells were answered by an earlier evaluation in this folder."""
        cells = sum(len(each.cells) for each in self.cases)
        return cells - len(self.to_ask)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planner:
    """Plans evaluations."""

    bench: Bench
    variants: Sequence[Variant]
    day: date
    #: Ask again where a call may have been paid for and left no answer.
    pay_lost_calls: bool

    async def plan(self, cases: Sequence[Case], excluded: Mapping[str, str]) -> EvaluationPlan:
        """The plan for these cases; a case that cannot be proved is left out by name.

        Raises:
            NothingToEvaluate: no case is left.
        """
        left_out, planned = dict(excluded), []
        for case in cases:
            try:
                planned.append(await self._case(case))
            except CaseExcluded as problem:
                left_out[case.case_id] = str(problem)
        if not planned:
            named = "\n".join(f"  {case_id}: {why}" for case_id, why in left_out.items())
            raise NothingToEvaluate(f"no case can be evaluated\n{named}".rstrip())
        return EvaluationPlan(variants=self.variants, cases=planned, excluded=left_out)

    async def _case(self, case: Case) -> PlannedCase:
        objects = self.bench.objects(case, "proof")
        await prove(case, objects, self.bench.settings, self.bench.log)
        stored = stored_answer(case, self._stored_report(case))
        if stored is None and any(variant.stored for variant in self.variants):
            raise CaseExcluded("it has no stored report")
        equal: Counter[str] = Counter()
        cells = {
            variant.name: await self._cell(case, variant, stored, equal)
            for variant in self.variants
            if not variant.stored
        }
        return PlannedCase(case=case, stored=stored, cells=cells)

    async def _cell(
        self, case: Case, variant: Variant, stored: CellAnswer | None, equal: Counter[str]
    ) -> PlannedCell:
        asked = asked_by(as_the_report(variant, case), case)
        objects = self.bench.objects(case, "proof")
        try:
            inputs = await inputs_of(case, asked, objects, self.bench.settings, self.bench.log)
        except CaseExcluded as problem:
            raise CaseExcluded(f"{variant.name}: {problem}") from None
        digest = inputs.receipt.digest
        equal[digest] += 1
        # Two variants that ask the same are two draws of the model, not one.
        cell = self.bench.cell(f"{digest}-{equal[digest]}", case, asked)
        known = await cell.answer()
        if known is not None and begins_anew(known, pay_lost_calls=self.pay_lost_calls):
            known = None
        request = inputs.request
        return PlannedCell(
            cell=cell,
            model=request.profile.model_name,
            cost=self.bench.cost(request, stored, self.day),
            known=known,
        )

    def _stored_report(self, case: Case) -> bytes | None:
        if case.stored is None or case.stored.sha256 is None:
            return None
        try:
            report = pinned_bytes(self.bench.places.pinned, case.stored.sha256)
        except OSError:
            raise CaseExcluded("its stored report is gone from the folder") from None
        if sha256_hex(report) != case.stored.sha256:
            raise CaseExcluded("its stored report was changed in the folder")
        return report
