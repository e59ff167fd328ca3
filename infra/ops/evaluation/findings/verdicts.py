"""The verdict on a candidate, measure by measure. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from infra.ops.comparison.paired import (
    CONFIDENCE,
    PairedDifference,
    found_beyond_chance,
    needed_cases,
    paired_difference,
)
from infra.ops.evaluation.findings.measures import EvaluationMeasure, Unit

ERROR_RATE = 1 - CONFIDENCE


class Judgement(StrEnum):
    """What an evaluation says of one measure."""

    BETTER = "better"
    WORSE = "worse"
    CANNOT_TELL = "cannot tell"
    #: Not one case differs.
    EQUAL = "equal"


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureVerdict:
    """What an evaluation says of a candidate by one measure, against the baseline."""

    measure: EvaluationMeasure
    finding: Judgement
    baseline: float
    candidate: float
    difference: PairedDifference
    #: How many cases would find a difference as large as the one seen; None if none varies.
    needed: int | None

    @property
    def relative(self) -> float | None:
        """The difference as a share: of the cases for rates, else of the baseline's mean."""
        if self.measure.unit is Unit.SHARE:
            return self.difference.mean
        return self.difference.mean / self.baseline if self.baseline else None

    @property
    def p_worse(self) -> float:
        """How likely so large a loss is, if the variants do not differ."""
        difference = self.difference
        return difference.p_lower if self.measure.higher_is_better else difference.p_higher


#: By case: the values of one variant.
Values = Mapping[str, Mapping[str, float]]


def verdicts(
    measures: Sequence[EvaluationMeasure], baseline: Values, candidate: Values, *, seed: int
) -> Sequence[MeasureVerdict]:
    """The verdicts on all measures that some case has of both variants.

    At most 5 of 100 evaluations of equal variants call any judged measure better or worse.
    """
    compared = [
        verdict
        for measure in measures
        if (verdict := _compared(measure, baseline, candidate, seed)) is not None
    ]
    judged = [each for each in compared if each.measure.judged]
    found = found_beyond_chance([each.difference for each in judged], error_rate=ERROR_RATE)
    beyond_chance = {
        each.measure.name for each, is_found in zip(judged, found, strict=True) if is_found
    }
    return [
        _with_finding(each, found=each.measure.name in beyond_chance, judged=len(judged))
        for each in compared
    ]


def _compared(
    measure: EvaluationMeasure, baseline: Values, candidate: Values, seed: int
) -> MeasureVerdict | None:
    name = measure.name
    pairs = [
        (baseline[case][name], candidate[case][name])
        for case in sorted(baseline.keys() & candidate.keys())
        if name in baseline[case] and name in candidate[case]
    ]
    if not pairs:
        return None
    difference = paired_difference([after - before for before, after in pairs], seed=seed)
    return MeasureVerdict(
        measure=measure,
        finding=Judgement.CANNOT_TELL,
        baseline=sum(before for before, _ in pairs) / len(pairs),
        candidate=sum(after for _, after in pairs) / len(pairs),
        difference=difference,
        needed=None,
    )


def _with_finding(verdict: MeasureVerdict, *, found: bool, judged: int) -> MeasureVerdict:
    difference = verdict.difference
    if not difference.deviation and not difference.mean:
        finding = Judgement.EQUAL
    elif not found:
        finding = Judgement.CANNOT_TELL
    else:
        better = (difference.mean > 0) == verdict.measure.higher_is_better
        finding = Judgement.BETTER if better else Judgement.WORSE
    return MeasureVerdict(
        measure=verdict.measure,
        finding=finding,
        baseline=verdict.baseline,
        candidate=verdict.candidate,
        difference=difference,
        needed=needed_cases(
            difference.deviation,
            difference.mean,
            error_rate=ERROR_RATE / judged if verdict.measure.judged else ERROR_RATE,
        ),
    )
