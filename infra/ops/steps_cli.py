"""`worker-llm steps`."""

# What a command needs is imported when it runs.
# ruff: noqa: PLC0415

from typing import Annotated

import typer

from infra.ops.options import AsJson, Where, for_environment

app = typer.Typer(
    help="See one step and what was logged about it; cancel it, or have it run again.",
    no_args_is_help=True,
)

RunId = Annotated[str, typer.Argument(help="The run's id.")]
StepId = Annotated[str, typer.Argument(help="The step's id, as `runs show` prints it.")]
Reason = Annotated[str, typer.Option(help="Why: kept in the job record.")]


@app.command(epilog="Example: `worker-llm steps show RUN llm_report_1d`")
@for_environment
def show(where: Where, run_id: RunId, step_id: StepId, *, as_json: AsJson = False) -> None:
    """Show a step: its job, each attempt and model call, its error and what to do about it.

    Ends with 3 if there is no such run or step.
    """
    from infra.ops.running import finish
    from infra.ops.steps_commands import show_step

    finish(show_step(where, run_id, step_id, as_json=as_json))


@app.command(
    epilog="Examples: `worker-llm steps logs RUN llm_report_1d` · "
    "`worker-llm steps logs RUN llm_report_1d --json | jq .event`",
)
@for_environment
def logs(
    where: Where,
    run_id: RunId,
    step_id: StepId,
    *,
    limit: Annotated[
        int, typer.Option(min=1, max=10_000, help="At most so many, the last.")
    ] = 500,
    as_json: AsJson = False,
) -> None:
    """Print what both functions logged about a step, the oldest entry first.

    With --json one object a line, as logged. Of a real project the entries are read by
    `gcloud logging read`, which must be installed.
    """
    from infra.ops.running import finish
    from infra.ops.step_logs import show_logs

    finish(show_logs(where, run_id, step_id, limit=limit, as_json=as_json))


@app.command(epilog="Example: `worker-llm steps cancel RUN llm_report_1d --reason 'bad chart'`")
@for_environment
def cancel(
    where: Where,
    run_id: RunId,
    step_id: StepId,
    *,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Cancel a RUNNING step: nothing more is paid for it, and no report is taken from it.

    Ends with 1 if the step's state does not allow it, with 3 if there is no such step.
    """
    from infra.ops.running import finish
    from infra.ops.steps_acts import act_on_step
    from shared.domain.steps import OperatorMove

    move = OperatorMove.CANCEL
    finish(act_on_step(where, move, run_id, step_id, reason=reason, as_json=as_json))


@app.command(epilog="Example: `worker-llm steps rerun RUN llm_report_1d --reason 'more quota'`")
@for_environment
def rerun(
    where: Where,
    run_id: RunId,
    step_id: StepId,
    *,
    reason: Reason = "",
    as_json: AsJson = False,
) -> None:
    """Make a FAILED or CANCELLED step READY again, with fresh budgets of attempts and calls.

    Ends with 1 if the step's state does not allow it, with 3 if there is no such step.
    """
    from infra.ops.running import finish
    from infra.ops.steps_acts import act_on_step
    from shared.domain.steps import OperatorMove

    move = OperatorMove.RERUN
    finish(act_on_step(where, move, run_id, step_id, reason=reason, as_json=as_json))
