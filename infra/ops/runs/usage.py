"""What the reports used, by day, model and flow. Pure."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date

from infra.ops.runs.view import RunView, StepView

_UNKNOWN = "unknown"


@dataclass(slots=True)
class Sum:
    """What a group of steps used."""

    reports: int = 0
    tokens: int = 0
    #: Of the reports whose model has a price.
    cost_usd: float = 0.0
    priced: int = 0

    @property
    def tokens_per_report(self) -> int:
        """The average."""
        return round(self.tokens / self.reports) if self.reports else 0

    def add(self, step: StepView) -> None:
        """Count one more step."""
        self.reports += 1
        self.tokens += step.tokens or 0
        if step.cost_usd is not None:
            self.cost_usd += step.cost_usd
            self.priced += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The sums of some runs."""

    runs: int
    total: Sum = field(default_factory=Sum)
    #: Day (UTC) -> model -> sum, the oldest day first.
    by_day: dict[date, dict[str, Sum]]
    #: The largest first.
    by_model: Sequence[tuple[str, Sum]]
    by_flow: Sequence[tuple[str, Sum]]


def usage_of(runs: Sequence[RunView]) -> Usage:
    """The sums over the steps that called a model."""
    used = list(_used(runs))
    total = Sum()
    by_day: dict[date, dict[str, Sum]] = defaultdict(lambda: defaultdict(Sum))
    for _, step in used:
        total.add(step)
        if step.finished_at is not None:
            by_day[step.finished_at.date()][_model(step)].add(step)
    return Usage(
        runs=len(runs),
        total=total,
        by_day={day: dict(models) for day, models in sorted(by_day.items())},
        by_model=_grouped(used, lambda _, step: _model(step)),
        by_flow=_grouped(used, lambda run, _: run.flow_key or _UNKNOWN),
    )


def _used(runs: Sequence[RunView]) -> Iterator[tuple[RunView, StepView]]:
    return ((run, step) for run in runs for step in run.steps if step.ours and step.tokens)


def _model(step: StepView) -> str:
    return step.model or _UNKNOWN


def _grouped(
    used: Sequence[tuple[RunView, StepView]], key: Callable[[RunView, StepView], str]
) -> Sequence[tuple[str, Sum]]:
    sums: dict[str, Sum] = defaultdict(Sum)
    for run, step in used:
        sums[key(run, step)].add(step)
    return sorted(sums.items(), key=lambda item: -item[1].tokens)
