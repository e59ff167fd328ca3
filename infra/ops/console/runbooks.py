"""Where it is said what to do about a step."""

from infra.ops.console.guides import STUCK, mending_path
from infra.ops.runs.advice import advice_for
from infra.ops.runs.diagnosis import Level
from infra.ops.runs.view import StepView


def runbook_of(step: StepView | None) -> str | None:
    """The address of the step's runbook, if there is one."""
    if step is None or step.finding.level is Level.STUCK:
        return mending_path(STUCK)
    known = step.error_code is not None and advice_for(step.error_code) is not None
    return mending_path(step.error_code) if step.error_code and known else None
