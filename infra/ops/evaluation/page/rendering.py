"""The page of an evaluation: one HTML file with everything in it, and nothing that runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from infra.ops.environment.stored_documents import text_at
from infra.ops.evaluation.asking.answers import CellAnswer
from infra.ops.evaluation.findings.measures import EvaluationMeasure
from infra.ops.evaluation.findings.results import CaseResult, Results
from infra.ops.evaluation.page.drawing import HEIGHT, WIDTH, Picture, picture_of
from infra.ops.evaluation.page.words import (
    case_text,
    difference_text,
    finding_text,
    interval_text,
    judge_lines,
    preference_text,
    value_text,
)
from infra.ops.reports.comparison import FieldPair
from infra.ops.reports.safe_markdown import rendered

_TEMPLATES = Path(__file__).parent / "templates"
#: A text and a table of more would bury the page; the JSON beside it has all.
_MOST_TEXT_CHARS = 12_000
_MOST_DIFFERENCES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One variant's answer to a case."""

    name: str
    answer: CellAnswer | None
    report: Markup | None
    values: Sequence[tuple[str, str]]
    problems: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseView:
    """A case as the page shows it."""

    number: int
    result: CaseResult
    columns: Sequence[Column]
    picture: Picture | None
    differences: Mapping[str, Sequence[FieldPair]]

    @property
    def differs(self) -> bool:
        """Whether the variants' fields, findings or ends differ."""
        ends = {(each.answer.error_code if each.answer else "") for each in self.columns}
        found = {tuple(each.problems) for each in self.columns}
        return len(ends) > 1 or len(found) > 1 or any(self.differences.values())

    @property
    def has_problems(self) -> bool:
        """Whether a check found something, or an answer is missing or failed."""
        return any(
            each.problems or each.answer is None or each.answer.error_code
            for each in self.columns
        )


def evaluation_page(results: Results, digest: str) -> str:
    """The page."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        value_text=value_text,
        difference_text=difference_text,
        interval_text=interval_text,
        finding_text=finding_text,
        preference_text=preference_text,
    )
    template = environment.get_template("evaluation.html")
    return template.render(
        results=results,
        digest=digest,
        judge_lines=judge_lines(results),
        names=[variant.name for variant in results.variants],
        width=WIDTH,
        height=HEIGHT,
        most_differences=_MOST_DIFFERENCES,
        cases=[_view(number, each, results) for number, each in enumerate(results.cases, 1)],
    )


def _view(number: int, result: CaseResult, results: Results) -> CaseView:
    names = [variant.name for variant in results.variants]
    outputs = {
        name: answer.output
        for name in names
        if (answer := result.answers.get(name)) is not None
    }
    return CaseView(
        number=number,
        result=result,
        columns=[_column(name, result, results.measures) for name in names],
        picture=picture_of(result.candles, outputs),
        differences={
            each.name: result.differences(results.baseline.name, each.name)
            for each in results.candidates
        },
    )


def _column(name: str, result: CaseResult, measures: Sequence[EvaluationMeasure]) -> Column:
    answer = result.answers.get(name)
    text = text_at(answer.output, "summary", "markdown") if answer else None
    values = result.values(name)
    found = result.problems.get(name, {})
    return Column(
        name=name,
        answer=answer,
        report=rendered(text[:_MOST_TEXT_CHARS]) if text else None,
        values=[
            (measure.title, case_text(measure, values[measure.name]))
            for measure in measures
            if measure.judged and measure.name in values and measure.name != "checks"
        ],
        problems=[
            f"{check}: {problem}" for check, problems in found.items() for problem in problems
        ],
    )
