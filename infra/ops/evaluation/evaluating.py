"""One evaluation from its cases to its results: gathered, proved, forecast, asked, judged."""

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from executor.settings import read_settings
from infra.ops.checks.library import Check
from infra.ops.cli.options import Where
from infra.ops.environment.connection import connect
from infra.ops.evaluation.asking.answers import CellAnswer
from infra.ops.evaluation.asking.bench import (
    Bench,
    Places,
    evaluation_environ,
    opened_bench,
    with_cheap_tier,
)
from infra.ops.evaluation.asking.executing import Execution, answers_by_variant
from infra.ops.evaluation.asking.model import asked_model
from infra.ops.evaluation.asking.pace import EvaluationPace
from infra.ops.evaluation.asking.planning import EvaluationPlan, Planner
from infra.ops.evaluation.asking.production import ProductionQuota
from infra.ops.evaluation.asking.variants import Variant
from infra.ops.evaluation.cases.case import Case, pinned_bytes
from infra.ops.evaluation.cases.environment_past import CaseSelection
from infra.ops.evaluation.cases.gathering import (
    FolderPlaces,
    Gathered,
    cases_in_folder,
    cases_of_environment,
)
from infra.ops.evaluation.cost_forecast import CostForecast, NotPriced, forecast
from infra.ops.evaluation.findings.fail_if import Condition
from infra.ops.evaluation.findings.results import Results, case_results
from infra.ops.evaluation.judging.asking import Judge
from infra.ops.evaluation.judging.preferences import JudgeFindings
from shared.adapters.clock import SystemClock
from shared.domain.pace_documents import pace_place

_MINUTE_SECONDS = 60.0
#: Calls a minute of a real model, unless told otherwise; fewer where production may use its
#: quota too.
_CALLS_PER_MINUTE, _CALLS_BESIDE_PRODUCTION = 30.0, 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What is to be evaluated, and within which bounds."""

    variants: Sequence[Variant]
    #: The author's files, or the environment that past steps are drawn from.
    places: FolderPlaces | None
    where: Where
    selection: CaseSelection
    out: Path
    checks: Mapping[str, Check] = field(default_factory=dict)
    conditions: Sequence[Condition] = ()
    #: In USD, such as `5.00`; empty for no ceiling, which only a stand-in may have.
    max_cost: str = ""
    parallel: int = 4
    #: 0 for the usual number with a real model, and no limit with a stand-in.
    calls_per_minute: float = 0.0
    backend: str | None = None
    effects: Path | None = None
    pay_lost_calls: bool = False
    #: The model that compares reports; None for none.
    judge: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What came of it, and whether money was the end of it."""

    results: Results
    ceiling_reached: bool
    asked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """An evaluation that is ready to ask."""

    evaluation: Evaluation
    bench: Bench
    plan: EvaluationPlan
    judge: Judge | None
    forecast: CostForecast

    async def ask(self, progress: Callable[[], None] = lambda: None) -> Ended:
        """Ask what is not answered yet, and judge all of it."""
        execution = Execution(
            endpoint=self.bench.endpoint,
            pace=self.bench.pace,
            parallel=self.evaluation.parallel,
            progress=progress,
        )
        answers = answers_by_variant(self.plan, await execution.run(self.plan.to_ask))
        judged = None
        if self.judge is not None:
            judged = await self.judge.findings(self.plan, answers, execution)
        return Ended(
            results=self._results(answers, judged),
            ceiling_reached=execution.ceiling_reached,
            asked=len(execution.answers),
        )

    def _results(
        self, answers: Mapping[str, Mapping[str, CellAnswer]], judged: JudgeFindings | None
    ) -> Results:
        pinned = self.bench.places.pinned
        cases = [each.case for each in self.plan.cases]
        return Results(
            variants=self.plan.variants,
            cases=case_results(
                [(case, _ohlcv(case, pinned), answers[case.case_id]) for case in cases],
                self.evaluation.checks,
            ),
            excluded=self.plan.excluded,
            checks=list(self.evaluation.checks),
            conditions=self.evaluation.conditions,
            seed=self.evaluation.selection.seed,
            judged=judged,
        )


@asynccontextmanager
async def prepared(evaluation: Evaluation) -> AsyncIterator[Prepared]:
    """Gather and prove the cases; nothing is asked yet.

    Raises:
        NotPriced: real calls without a ceiling, or of a model without a price.
        NothingToEvaluate: no case is left.
        JudgeInvalid: the judge would judge its own reports.
        BenchInUse: another evaluation works in the folder.
        SettingsInvalid: a key or another variable is missing or bad.
        OSError: a file cannot be read or written.
    """
    places = Places(evaluation.out)
    places.make()
    async with asked_model(evaluation.backend, evaluation.effects) as model:
        if model.paid and not evaluation.max_cost:
            raise NotPriced("give --max-cost: the most USD that the calls may cost together")
        gathered = await _gathered(evaluation, places)
        environ = evaluation_environ(model.environ, max_cost_usd=evaluation.max_cost)
        buckets = {source.uri.bucket for case in gathered.cases for source in case.sources}
        if buckets:
            environ["CONTEXT_BUCKETS"] = ",".join(sorted(buckets))
        settings = read_settings(with_cheap_tier(environ) if model.paid else environ)
        pace = EvaluationPace(
            clock=SystemClock(),
            every_seconds=_every(evaluation, paid=model.paid),
        )
        async with opened_bench(places, settings, pace) as bench:
            plan = await Planner(
                bench=bench,
                variants=evaluation.variants,
                day=SystemClock().now().date(),
                pay_lost_calls=evaluation.pay_lost_calls,
            ).plan(gathered.cases, gathered.excluded)
            judge = _judge(evaluation, bench, plan)
            async with _beside_production(evaluation, bench, plan, paid=model.paid):
                yield Prepared(
                    evaluation=evaluation,
                    bench=bench,
                    plan=plan,
                    judge=judge,
                    forecast=await forecast(
                        plan, judge, max_cost=evaluation.max_cost, paid=model.paid
                    ),
                )


def _judge(evaluation: Evaluation, bench: Bench, plan: EvaluationPlan) -> Judge | None:
    if evaluation.judge is None:
        return None
    judge = Judge(
        bench=bench,
        model=evaluation.judge,
        day=SystemClock().now().date(),
        pay_lost_calls=evaluation.pay_lost_calls,
    )
    judge.check(plan)
    return judge


async def _gathered(evaluation: Evaluation, places: Places) -> Gathered:
    selection = evaluation.selection
    if evaluation.places is not None:
        return await cases_in_folder(evaluation.places, selection, places.cases, places.pinned)
    async with connect(evaluation.where) as connection:
        return await cases_of_environment(connection, selection, places.cases, places.pinned)


def _ohlcv(case: Case, pinned: Path) -> object:
    """The candles' document; None where it is no JSON."""
    try:
        return json.loads(pinned_bytes(pinned, case.sources[0].sha256))
    except (OSError, ValueError, IndexError):
        return None


@asynccontextmanager
async def _beside_production(
    evaluation: Evaluation, bench: Bench, plan: EvaluationPlan, *, paid: bool
) -> AsyncIterator[None]:
    """Let the steps of the environment go first, where one shares the provider's quota."""
    if evaluation.places is not None or not paid:
        yield
        return
    endpoint = bench.settings.gemini.endpoint
    async with connect(evaluation.where) as connection:
        bench.pace.left_by_production = ProductionQuota(
            documents=connection.documents,
            runs=connection.runs,
            places={pace_place(cell.model, endpoint) for cell in plan.to_ask},
            clock=SystemClock(),
        ).left
        yield


def _every(evaluation: Evaluation, *, paid: bool) -> float:
    """The shortest time between two calls, in seconds; 0 for none."""
    usual = _CALLS_PER_MINUTE if evaluation.places else _CALLS_BESIDE_PRODUCTION
    wanted = evaluation.calls_per_minute or (usual if paid else 0.0)
    return _MINUTE_SECONDS / wanted if wanted else 0.0
