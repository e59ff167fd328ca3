"""What an evaluation will ask for, and what that costs: told before the first call."""

from collections.abc import Mapping
from dataclasses import dataclass

from executor.billing.prices import MicroUsd, usd
from infra.failures import CannotBeDone
from infra.ops.evaluation.asking.forecast import FREE_OF_CHARGE, total
from infra.ops.evaluation.asking.planning import EvaluationPlan
from infra.ops.evaluation.judging.asking import Judge


class NotPriced(CannotBeDone):
    """What the calls may cost is not bounded, or not known; the message says what to give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostForecast:
    """What is known before the first call."""

    cases: int
    excluded: Mapping[str, str]
    calls: int
    #: The most calls of the judge. None is made for two equal reports, or for a pair that was
    #: judged before.
    judge_calls: int
    reused: int
    #: Whether calls cost money.
    paid: bool
    likely_usd: float | None
    #: Without repairs.
    most_usd: float | None
    max_cost: str


async def forecast(
    plan: EvaluationPlan, judge: Judge | None, *, max_cost: str, paid: bool
) -> CostForecast:
    """What is known before the first call.

    Args:
        plan: what is to be asked.
        judge: the one that will compare the reports; None for none.
        max_cost: the ceiling in USD; empty for none.
        paid: whether calls cost money.

    Raises:
        NotPriced: there is a ceiling, and a call whose price is not known.
    """
    judge_calls, judge_cost = await judge.forecast(plan) if judge else (0, FREE_OF_CHARGE)
    cost = total([*(cell.cost for cell in plan.to_ask), judge_cost])
    if max_cost and cost.most is None:
        raise NotPriced(
            "a ceiling needs a price for every model in MODEL_PRICES, and llmProfile's"
            " maxOutputTokens in every case"
        )
    return CostForecast(
        cases=len(plan.cases),
        excluded=plan.excluded,
        calls=len(plan.to_ask),
        judge_calls=judge_calls,
        reused=plan.reused,
        paid=paid,
        likely_usd=_usd(cost.likely),
        most_usd=_usd(cost.most),
        max_cost=max_cost,
    )


def _usd(amount: MicroUsd | None) -> float | None:
    return None if amount is None else usd(amount)
