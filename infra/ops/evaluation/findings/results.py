"""The results of an evaluation: every case, every measure, every verdict, and one digest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from infra.ops.checks.declared import problems_of
from infra.ops.checks.library import Check
from infra.ops.checks.subject import Candle, Subject, candles_of
from infra.ops.environment.stored_documents import map_at
from infra.ops.evaluation.asking.answers import CellAnswer
from infra.ops.evaluation.asking.variants import Variant
from infra.ops.evaluation.cases.case import Case
from infra.ops.evaluation.findings.fail_if import Condition, conditions_met
from infra.ops.evaluation.findings.market import Later, later_by_case
from infra.ops.evaluation.findings.measures import (
    MEASURES,
    PREFERRED,
    EvaluationMeasure,
    check_measure,
    measured,
)
from infra.ops.evaluation.findings.verdicts import MeasureVerdict, verdicts
from infra.ops.evaluation.judging.preferences import JudgeFindings, Preference
from infra.ops.reports.comparison import FieldPair, compared


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """One case with the answers of all variants."""

    case: Case
    candles: Sequence[Candle]
    answers: Mapping[str, CellAnswer]
    #: By variant and check: what was found.
    problems: Mapping[str, Mapping[str, Sequence[str]]]
    later: Later | None

    def values(self, variant: str) -> Mapping[str, float]:
        """What was measured of a variant's answer."""
        answer = self.answers.get(variant)
        return measured(answer, self.problems[variant]) if answer else {}

    def differences(self, baseline: str, candidate: str) -> Sequence[FieldPair]:
        """Where the details of two reports differ; none where one of them is not there."""
        before, after = self._output(baseline), self._output(candidate)
        if before is None or after is None:
            return []
        pairs = compared(before.get("details"), after.get("details"))
        return [pair for pair in pairs if pair.changed]

    def _output(self, variant: str) -> Mapping[str, Any] | None:
        answer = self.answers.get(variant)
        return answer.output if answer else None


@dataclass(frozen=True, kw_only=True)
class Results:
    """What came of an evaluation. The first variant is the baseline."""

    variants: Sequence[Variant]
    cases: Sequence[CaseResult]
    excluded: Mapping[str, str]
    checks: Sequence[str]
    conditions: Sequence[Condition]
    seed: int
    judged: JudgeFindings | None = None

    @property
    def baseline(self) -> Variant:
        """What the others are compared with."""
        return self.variants[0]

    @property
    def candidates(self) -> Sequence[Variant]:
        """What is compared."""
        return self.variants[1:]

    @cached_property
    def measures(self) -> Sequence[EvaluationMeasure]:
        """All that is measured."""
        return measures_with(self.checks)

    @cached_property
    def verdicts(self) -> Mapping[str, Sequence[MeasureVerdict]]:
        """By candidate."""
        return {
            each.name: verdicts(
                self.measures,
                self._values(self.baseline.name, beside=each.name),
                self._values(each.name, beside=each.name),
                seed=self.seed,
            )
            for each in self.candidates
        }

    @cached_property
    def met(self) -> Mapping[str, Sequence[Condition]]:
        """By candidate: the conditions that hold."""
        return {
            name: conditions_met(self.conditions, found)
            for name, found in self.verdicts.items()
        }

    @cached_property
    def undecided(self) -> Mapping[str, Sequence[Condition]]:
        """By candidate: the conditions whose measure no case has of both variants."""
        known = {
            name: {each.measure.name for each in found} for name, found in self.verdicts.items()
        }
        return {
            name: [each for each in self.conditions if each.measure not in measures]
            for name, measures in known.items()
        }

    @property
    def failed(self) -> bool:
        """Whether a stated loss was found, or could not be looked for at all."""
        return any(self.met.values()) or any(self.undecided.values())

    @property
    def unanswered(self) -> Mapping[str, Mapping[str, str]]:
        """By case and variant: why nothing is known, where that is so."""
        names = [variant.name for variant in self.variants]
        found = {
            each.case.case_id: {
                name: _why(each.answers.get(name))
                for name in names
                if (answer := each.answers.get(name)) is None or not answer.told
            }
            for each in self.cases
        }
        return {case_id: whys for case_id, whys in found.items() if whys}

    def preference(self, candidate: str, case_id: str) -> Preference | None:
        """What the judge said of the candidate's report; None where it was not asked."""
        return self.judged.preferences[candidate].get(case_id) if self.judged else None

    def _values(self, variant: str, *, beside: str) -> Mapping[str, Mapping[str, float]]:
        """By case: what was measured of a variant, as it is compared with this candidate."""
        scores = self.judged.scores(beside) if self.judged else {}
        preferred = {
            case_id: score if variant == beside else 1 - score
            for case_id, score in scores.items()
        }
        return {
            each.case.case_id: {
                **each.values(variant),
                **(
                    {PREFERRED.name: preferred[each.case.case_id]}
                    if each.case.case_id in preferred
                    else {}
                ),
            }
            for each in self.cases
        }


def measures_with(checks: Sequence[str]) -> Sequence[EvaluationMeasure]:
    """What is measured where these checks are declared."""
    return [*MEASURES, *(check_measure(name) for name in checks)]


def case_results(
    answered: Sequence[tuple[Case, object, Mapping[str, CellAnswer]]],
    checks: Mapping[str, Check],
) -> Sequence[CaseResult]:
    """The results of cases, given each with its OHLCV document and its answers by variant."""
    candles = {case.case_id: candles_of(ohlcv) for case, ohlcv, _ in answered}
    series = {case.case_id: (case.symbol, case.timeframe) for case, _, _ in answered}
    later = later_by_case(candles, series)
    return [
        CaseResult(
            case=case,
            candles=candles[case.case_id],
            answers=answers,
            problems={
                name: _problems(case, candles[case.case_id], answer, checks)
                for name, answer in answers.items()
            },
            later=later.get(case.case_id),
        )
        for case, _, answers in answered
    ]


def _problems(
    case: Case, candles: Sequence[Candle], answer: CellAnswer, checks: Mapping[str, Check]
) -> Mapping[str, Sequence[str]]:
    if answer.output is None:
        return {}
    subject = Subject(
        output=answer.output,
        symbol=case.symbol,
        timeframe=case.timeframe,
        candles=candles,
        previous_timeframes=_previous_timeframes(case),
    )
    return problems_of(checks, subject)


def _previous_timeframes(case: Case) -> Sequence[str]:
    steps, inputs = map_at(case.run, "steps"), map_at(case.step, "inputs")
    listed = [
        *inputs.get("previousReportStepIds", ()),
        *(each.get("stepId") for each in inputs.get("previousReports", ())),
    ]
    found = (map_at(steps, name).get("timeframe") for name in listed if name)
    return [each for each in found if isinstance(each, str)]


def _why(answer: CellAnswer | None) -> str:
    if answer is None:
        return "not asked to the end"
    return str(answer.error_code)
