"""How values, differences and findings are written. Pure."""

from collections.abc import Mapping, Sequence

from infra.ops.evaluation.findings.measures import EvaluationMeasure, Unit
from infra.ops.evaluation.findings.results import Results
from infra.ops.evaluation.findings.verdicts import Judgement, MeasureVerdict
from infra.ops.evaluation.judging.preferences import Better, Preference

_PERCENT = 100
_EVEN = 0.5
_PLACE: Mapping[Better | None, str] = {Better.FIRST: "first", Better.SECOND: "second"}


def value_text(measure: EvaluationMeasure, value: float) -> str:
    """A value, such as `97.5 %` or `4,812`."""
    match measure.unit:
        case Unit.SHARE:
            return f"{value * _PERCENT:.1f} %"
        case Unit.USD:
            return f"${value:.5f}"
        case Unit.TOKENS:
            return f"{value:,.0f}"
        case Unit.MILLISECONDS:
            return f"{value:,.0f} ms"


def case_text(measure: EvaluationMeasure, value: float) -> str:
    """A value of one case: a share is then a yes or a no."""
    if measure.unit is Unit.SHARE:
        return "yes" if value else "no"
    return value_text(measure, value)


def difference_text(measure: EvaluationMeasure, value: float) -> str:
    """A difference, with its sign; of shares in percentage points."""
    match measure.unit:
        case Unit.SHARE:
            return f"{value * _PERCENT:+.1f} pp"
        case Unit.USD:
            return f"{'-' if value < 0 else '+'}${abs(value):.5f}"
        case Unit.TOKENS:
            return f"{value:+,.0f}"
        case Unit.MILLISECONDS:
            return f"{value:+,.0f} ms"


def interval_text(verdict: MeasureVerdict) -> str:
    """The interval of the difference."""
    low, high = verdict.difference.low, verdict.difference.high
    return (
        f"{difference_text(verdict.measure, low)} to {difference_text(verdict.measure, high)}"
    )


def finding_text(verdict: MeasureVerdict) -> str:
    """The finding, and what it would take to tell where that is not known."""
    if not verdict.measure.judged:
        return ""
    if verdict.finding is Judgement.EQUAL:
        return "equal in every case"
    if verdict.finding is not Judgement.CANNOT_TELL:
        return str(verdict.finding)
    cases = f"cannot tell with {verdict.difference.cases} cases"
    needed = verdict.needed
    if needed is None or needed <= verdict.difference.cases:
        return cases
    return f"{cases}, about {needed:,} are needed"


def judge_lines(results: Results) -> Sequence[str]:
    """What is to be known of a judge before its preference is believed; nothing without one."""
    judged = results.judged
    if judged is None:
        return []
    lines = []
    for name, found in judged.preferences.items():
        line = f"judge {judged.model}, {name}: {len(judged.scores(name))} of {len(found)} pairs"
        share = judged.first_share(name)
        if share is not None:
            line += (
                f"; in {judged.follows_order(name)} it went by the order, and the first report"
                f" won {share * _PERCENT:.0f} % of the verdicts that name one"
            )
        problem = judged.problem(name)
        lines.append(f"{line}; no verdict on others: {problem}" if problem else line)
    if judged.relatives:
        lines.append(
            f"judge {judged.model}: of the family of {', '.join(judged.relatives)}; a judge"
            " tends to prefer what its own family wrote"
        )
    return lines


def preference_text(preference: Preference, baseline: str, candidate: str) -> str:
    """Which report the judge prefers."""
    score = preference.score
    if score is None:
        return "no verdict in both orders"
    if preference.follows_order:
        return f"undecided: the {_PLACE[preference.baseline_first]} report won in both orders"
    if score == _EVEN:
        return "neither"
    preferred = candidate if score > _EVEN else baseline
    sure = score in {0, 1}
    return preferred if sure else f"{preferred} in one order, neither in the other"
