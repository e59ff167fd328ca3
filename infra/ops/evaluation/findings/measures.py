"""What is measured of an answer, and in which direction it is better. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from infra.ops.evaluation.asking.answers import CellAnswer
from shared.domain.errors import ErrorCode

#: Precedes the name of a single check.
CHECK_PREFIX = "check."


class Unit(StrEnum):
    """How a measure is written."""

    SHARE = "share"  #: Of the cases; a difference is in percentage points.
    TOKENS = "tokens"
    USD = "usd"
    MILLISECONDS = "ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationMeasure:
    """One thing that is measured."""

    name: str
    title: str
    unit: Unit
    higher_is_better: bool
    #: Whether it is among those that get a verdict, with one error rate for all of them.
    judged: bool = True


_MEASURES = (
    EvaluationMeasure(
        name="valid",
        title="First answer satisfies the schema",
        unit=Unit.SHARE,
        higher_is_better=True,
    ),
    EvaluationMeasure(
        name="succeeded",
        title="A report came of it, repair included",
        unit=Unit.SHARE,
        higher_is_better=True,
    ),
    EvaluationMeasure(
        name="blocked",
        title="Blocked by the provider",
        unit=Unit.SHARE,
        higher_is_better=False,
    ),
    EvaluationMeasure(
        name="checks",
        title="All declared checks pass",
        unit=Unit.SHARE,
        higher_is_better=True,
    ),
    EvaluationMeasure(
        name="tokens",
        title="Tokens of all calls",
        unit=Unit.TOKENS,
        higher_is_better=False,
    ),
    EvaluationMeasure(name="price", title="Price", unit=Unit.USD, higher_is_better=False),
    EvaluationMeasure(
        name="latency",
        title="Time of the model's calls",
        unit=Unit.MILLISECONDS,
        higher_is_better=False,
    ),
)

#: Only where a judge was asked; each pair of reports shares one preference.
PREFERRED = EvaluationMeasure(
    name="preferred", title="Preferred by the judge", unit=Unit.SHARE, higher_is_better=True
)
MEASURES = (*_MEASURES, PREFERRED)


def check_measure(name: str) -> EvaluationMeasure:
    """The measure of one check, which is shown without a verdict of its own."""
    return EvaluationMeasure(
        name=f"{CHECK_PREFIX}{name}",
        title=f"Check: {name}",
        unit=Unit.SHARE,
        higher_is_better=True,
        judged=False,
    )


def measured(answer: CellAnswer, problems: Mapping[str, Sequence[str]]) -> Mapping[str, float]:
    """The values of an answer; what is not known of it is left out.

    Args:
        answer: what came of the cell; one that says nothing of the prompt has no values.
        problems: what each declared check found in its report; empty without a report.
    """
    return dict(_values(answer, problems)) if answer.told else {}


def _values(
    answer: CellAnswer, problems: Mapping[str, Sequence[str]]
) -> Iterator[tuple[str, float]]:
    succeeded = answer.error_code is None
    yield "succeeded", float(succeeded)
    yield "blocked", float(answer.error_code == ErrorCode.LLM_SAFETY_BLOCK)
    if not succeeded:
        yield "valid", 0.0
    elif answer.repaired is not None:
        yield "valid", float(not answer.repaired)
    if answer.tokens_in is not None or answer.tokens_out is not None:
        yield "tokens", float((answer.tokens_in or 0) + (answer.tokens_out or 0))
    if answer.cost_usd is not None:
        yield "price", answer.cost_usd
    if answer.latency_ms is not None:
        yield "latency", float(answer.latency_ms)
    if problems:
        yield "checks", float(not any(problems.values()))
    for name, found in problems.items():
        yield f"{CHECK_PREFIX}{name}", float(not found)
