"""What an act may cost, said before it is done. Pure."""

from dataclasses import dataclass
from typing import Any

from infra.ops.runs.view import StepView
from infra.ops.steps.acts import Act, Note
from shared.domain.steps import OperatorMove

#: The executor's MAX_LLM_CALLS unless told otherwise.
CALL_BUDGET = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Model calls that may follow from an act."""

    at_least: int = 0
    at_most: int = 0
    #: What the step's last claim cost.
    last_cost_usd: float | None = None

    def as_json(self) -> dict[str, Any]:
        """The calls as the commands print them with `--json`."""
        return {"atLeast": self.at_least, "atMost": self.at_most}

    def __add__(self, other: "Forecast") -> "Forecast":
        costs = (self.last_cost_usd, other.last_cost_usd)
        known = [cost for cost in costs if cost is not None]
        return Forecast(
            at_least=self.at_least + other.at_least,
            at_most=self.at_most + other.at_most,
            last_cost_usd=sum(known) if known else None,
        )

    @property
    def words(self) -> str:
        """The forecast as a sentence."""
        if not self.at_most:
            return "No model call follows."
        last = ""
        if self.last_cost_usd is not None:
            last = f"; the calls of the last claim cost ${self.last_cost_usd:,.4f}"
        return f"Paid model calls that may follow: {self.at_least} to {self.at_most}{last}."


def forecast_of(move: Act, step: StepView) -> Forecast:
    """What may follow from doing this to the step."""
    if move is not OperatorMove.RERUN:
        return Forecast()
    # A report that a former attempt stored is taken without a call.
    stored = step.job is not None and any(attempt.stored_at for attempt in step.job.attempts)
    return Forecast(
        at_least=0 if stored else 1, at_most=CALL_BUDGET, last_cost_usd=step.cost_usd
    )


#: What an act means, shown to the operator who is asked to confirm it.
CONSEQUENCES = {
    OperatorMove.CANCEL: "Nothing more is paid for it, and no report is taken from it. A model "
    "call under way is given up when its lease is next renewed, and may still be billed.",
    OperatorMove.RERUN: "It becomes READY with fresh budgets of attempts and model calls. "
    "A model call is paid for, unless its report is stored already.",
    Note.ACKNOWLEDGE: "It no longer counts among the steps that need attention. Its status "
    "stays FAILED.",
}
