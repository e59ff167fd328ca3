"""`--fail-if`: a loss that holds a roll-out, stated before the evaluation. Pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from infra.failures import CannotBeDone
from infra.ops.evaluation.findings.measures import EvaluationMeasure, Unit
from infra.ops.evaluation.findings.verdicts import ERROR_RATE, MeasureVerdict

_CONDITION = re.compile(
    r"\s*(?P<measure>[A-Za-z][\w.-]*)\s*(?P<sign>[<>])\s*(?P<bound>[-+]?\d+(?:\.\d+)?)\s*"
    r"(?P<percent>%?)\s*"
)


class ConditionInvalid(CannotBeDone):
    """A condition cannot be understood; the message repeats it and says why."""

    exit_code = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A loss by one measure."""

    text: str
    measure: str
    bound: float
    #: Whether the bound is a share: of the cases for rates, else of the baseline's mean.
    relative: bool

    def met_by(self, verdicts: Sequence[MeasureVerdict], *, error_rate: float) -> bool:
        """Whether the loss is beyond the bound, and beyond chance at this error rate."""
        found = next((each for each in verdicts if each.measure.name == self.measure), None)
        if found is None:
            return False
        seen = found.relative if self.relative else found.difference.mean
        if seen is None:
            return False
        beyond = seen < self.bound if found.measure.higher_is_better else seen > self.bound
        return beyond and found.p_worse <= error_rate


def parse_condition(text: str, measures: Sequence[EvaluationMeasure]) -> Condition:
    """The condition in a text such as `valid < -1%` or `tokens > 10%`.

    Raises:
        ConditionInvalid: it is none, or states a gain.
    """
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ConditionInvalid(f"--fail-if {text!r}: write MEASURE < -1% or MEASURE > 10%")
    measure = next((each for each in measures if each.name == match["measure"]), None)
    if measure is None:
        known = ", ".join(each.name for each in measures)
        raise ConditionInvalid(f"--fail-if {text!r}: no such measure; there are {known}")
    bound = float(match["bound"])
    losing = "<" if measure.higher_is_better else ">"
    if match["sign"] != losing or (bound > 0 if measure.higher_is_better else bound < 0):
        limit = "at most 0" if measure.higher_is_better else "at least 0"
        raise ConditionInvalid(
            f"--fail-if {text!r}: that is no loss; {measure.name} is worse where its "
            f"difference is {losing} a bound of {limit}"
        )
    relative = bool(match["percent"]) or measure.unit is Unit.SHARE
    share = bound / 100 if match["percent"] else bound
    return Condition(text=text.strip(), measure=measure.name, bound=share, relative=relative)


def conditions_met(
    conditions: Sequence[Condition], verdicts: Sequence[MeasureVerdict]
) -> Sequence[Condition]:
    """The conditions that hold: with equal variants, any of them in 5 of 100 evaluations."""
    if not conditions:
        return []
    error_rate = ERROR_RATE / len(conditions)
    return [each for each in conditions if each.met_by(verdicts, error_rate=error_rate)]
