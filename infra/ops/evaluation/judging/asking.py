"""Asking a judge: its calls are cells like any other, by the deployed code.

A judge's step has the candles and charts of the case, a prompt of its own, and the two reports
as previous ones. So its calls are under the same ceiling, named by the digest of their inputs,
and asked once.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from executor.contract.artifacts import GcsUri
from executor.contract.profile import KIND
from executor.ports import ModelRequest
from infra.failures import CannotBeDone
from infra.ops.environment.stored_documents import at, text_at
from infra.ops.evaluation.asking.answers import CellAnswer
from infra.ops.evaluation.asking.bench import Bench
from infra.ops.evaluation.asking.cells import begins_anew
from infra.ops.evaluation.asking.executing import Execution
from infra.ops.evaluation.asking.forecast import Cost, total
from infra.ops.evaluation.asking.planning import EvaluationPlan, PlannedCell
from infra.ops.evaluation.asking.proof import inputs_of
from infra.ops.evaluation.asking.variants import AskedCase
from infra.ops.evaluation.cases.case import Case, Source, prompt_ref, schema_ref
from infra.ops.evaluation.cases.pinning import CaseExcluded
from infra.ops.evaluation.judging.preferences import (
    SAME,
    Better,
    JudgeFindings,
    Preference,
    relatives_of,
)
from infra.ops.evaluation.judging.prompt import PROMPT, PROMPT_ID, SCHEMA, SCHEMA_ID

_MAX_OUTPUT_TOKENS = 2_048
#: Of a report, as far as forecasts go.
_LIKELY_REPORT_BYTES = 6_000
_ORDERS = 2


class JudgeInvalid(CannotBeDone):
    """The judge cannot judge; the message says why."""

    exit_code = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """A model that is asked for its preference."""

    bench: Bench
    model: str
    day: date
    pay_lost_calls: bool

    def check(self, plan: EvaluationPlan) -> None:
        """See that it judges no report of its own.

        Raises:
            JudgeInvalid: it would.
        """
        asked = {cell.model for each in plan.cases for cell in each.cells.values()}
        if self.model in asked:
            raise JudgeInvalid(
                f"--judge {self.model}: it is asked for reports itself;"
                " give a model of another family"
            )

    async def forecast(self, plan: EvaluationPlan) -> tuple[int, Cost]:
        """How many calls there may be, and what they cost together."""
        costs: list[Cost] = []
        for each in plan.cases:
            case = each.case
            likely = await self._request(case, _LIKELY_REPORT_BYTES)
            most = await self._request(case, self.bench.settings.limits.max_json_bytes)
            cost = Cost(
                likely=self.bench.cost(likely, None, self.day).likely,
                most=self.bench.cost(most, None, self.day).most,
            )
            costs += [cost] * _ORDERS * (len(plan.variants) - 1)
        return len(costs), total(costs)

    async def findings(
        self,
        plan: EvaluationPlan,
        answers: Mapping[str, Mapping[str, CellAnswer]],
        execution: Execution,
    ) -> JudgeFindings:
        """What it says of all pairs, asked where that is not known yet."""
        baseline, *candidates = (variant.name for variant in plan.variants)
        cases = {each.case.case_id: each.case for each in plan.cases}
        pairs = {
            (name, case_id): [
                await self._cell(cases[case_id], first, second)
                for first, second in _orders(of[baseline], of[name])
            ]
            for name in candidates
            for case_id, of in answers.items()
            if _has_report(of.get(baseline)) and _has_report(of.get(name))
        }
        cells = {cell.cell.cell_id: cell for pair in pairs.values() for cell in pair if cell}
        said = await execution.run([cell for cell in cells.values() if cell.known is None])
        found: dict[str, dict[str, Preference]] = {name: {} for name in candidates}
        for (name, case_id), pair in pairs.items():
            found[name][case_id] = _preference(pair, said)
        models = (
            model
            for of in answers.values()
            for answer in of.values()
            for model in answer.model_versions
        )
        return JudgeFindings(
            model=self.model, preferences=found, relatives=relatives_of(self.model, models)
        )

    async def _cell(self, case: Case, first: bytes, second: bytes) -> PlannedCell | None:
        """The cell of one order; None where it cannot be asked for, as of huge reports."""
        judged = self._case(case, first, second)
        asked = _asked(judged)
        objects = self.bench.objects(judged, "proof")
        try:
            inputs = await inputs_of(
                judged, asked, objects, self.bench.settings, self.bench.log
            )
        except CaseExcluded:
            return None
        cell = self.bench.cell(f"{inputs.receipt.digest}-1", judged, asked)
        known = await cell.answer()
        if known is not None and begins_anew(known, pay_lost_calls=self.pay_lost_calls):
            known = None
        cost = self.bench.cost(inputs.request, None, self.day)
        return PlannedCell(cell=cell, model=self.model, cost=cost, known=known)

    async def _request(self, case: Case, report_bytes: int) -> ModelRequest:
        """What a pair of reports of this size is asked with."""
        text = json.dumps("x" * (report_bytes - len('""'))).encode()
        judged = self._case(case, text, text)
        objects = self.bench.objects(judged, "proof")
        inputs = await inputs_of(
            judged, _asked(judged), objects, self.bench.settings, self.bench.log
        )
        return inputs.request

    def _case(self, case: Case, first: bytes, second: bytes) -> Case:
        """The case as the judge sees it, the two reports kept beside its sources."""
        bucket = case.sources[0].uri.bucket
        reports = [
            self._kept(GcsUri(bucket, f"judged/{name}.json"), data)
            for name, data in (("first", first), ("second", second))
        ]
        inputs = {
            name: value
            for name, value in case.step["inputs"].items()
            if name not in {"previousReportStepIds", "previousReports"}
        }
        inputs["llm"] = {"promptId": PROMPT_ID, "llmProfile": _profile(self.model)}
        inputs["previousReports"] = [{"gcs_uri": str(each.uri)} for each in reports]
        steps = {**case.run["steps"], case.step_id: {**case.step, "inputs": inputs}}
        return replace(
            case,
            run={**case.run, "steps": steps},
            sources=[*case.sources, *reports],
            stored=None,
        )

    def _kept(self, uri: GcsUri, data: bytes) -> Source:
        sha256 = self.bench.places.keep(data)
        return Source(uri=uri, generation=1, sha256=sha256, size_bytes=len(data))


def _profile(model: str) -> Mapping[str, Any]:
    return {
        "modelName": model,
        "temperature": 0.0,
        "maxOutputTokens": _MAX_OUTPUT_TOKENS,
        "responseMimeType": "application/json",
        "structuredOutput": {"schemaId": SCHEMA_ID, "kind": KIND},
    }


def _asked(judged: Case) -> AskedCase:
    return AskedCase(
        run=judged.run,
        registry={prompt_ref(PROMPT_ID): PROMPT, schema_ref(SCHEMA_ID): SCHEMA},
    )


def _has_report(answer: CellAnswer | None) -> bool:
    return answer is not None and answer.output is not None


def _orders(baseline: CellAnswer, candidate: CellAnswer) -> Iterator[tuple[bytes, bytes]]:
    """Both orders of two reports; none where they are the same.

    What the judge sees is what the models wrote, and nothing of who wrote it.
    """
    before, after = (json.dumps(each.output).encode() for each in (baseline, candidate))
    if before != after:
        yield before, after
        yield after, before


def _preference(
    pair: Sequence[PlannedCell | None], said: Mapping[str, CellAnswer]
) -> Preference:
    if not pair:
        return SAME
    answers = [each.known or said.get(each.cell.cell_id) if each else None for each in pair]
    outputs = [answer.output if answer else None for answer in answers]
    better, other = (_better(output) for output in outputs)
    return Preference(
        baseline_first=better,
        candidate_first=other,
        problem=_problem(answers) if None in (better, other) else None,
        reasons=[text_at(output, "summary", "markdown") or "" for output in outputs],
    )


def _problem(answers: Sequence[CellAnswer | None]) -> str:
    told = (each for each in answers if each is not None and each.error_code)
    failed = next(told, None)
    return f"{failed.error_code} {failed.error_message}" if failed else "not asked to the end"


def _better(output: Mapping[str, Any] | None) -> Better | None:
    said = at(output, "details", "better")
    return Better(said) if said in set(Better) else None
