"""`worker-llm steps`."""

# What a command needs is imported when it runs.
# ruff: noqa: PLC0415

from typing import Annotated

import typer

from infra.ops.cli.options import AsJson, Where, for_environment
from infra.ops.cli.run_options import (
    As,
    DryRun,
    Flow,
    IdPart,
    Since,
    Symbol,
    Timeframe,
    Until,
    Yes,
)
from infra.ops.runs.completion import complete_run, complete_step

app = typer.Typer(
    help="See one step and what was logged about it; cancel it, or have it run again.",
    no_args_is_help=True,
)

RunId = Annotated[str, typer.Argument(help="The run's id.", autocompletion=complete_run)]
StepId = Annotated[
    str,
    typer.Argument(
        help="The step's id, as `runs show` prints it.", autocompletion=complete_step
    ),
]
Reason = Annotated[
    str | None,
    typer.Option(help="Why: kept in the job record. Asked for on a terminal, else needed."),
]
Code = Annotated[str | None, typer.Option(help="Only steps that failed with this code.")]
Prompt = Annotated[str | None, typer.Option(help="Only steps that name this prompt.")]
Everything = Annotated[
    bool, typer.Option("--all", help="All of them; needed when nothing restricts.")
]
BulkLimit = Annotated[int, typer.Option(min=1, max=10_000, help="At most so many steps.")]
Rate = Annotated[
    float, typer.Option(min=0.01, max=100, help="Steps a second: spare the quota.")
]


@app.command(epilog="Example: `worker-llm steps show RUN llm_report_1d`")
@for_environment
def show(where: Where, run_id: RunId, step_id: StepId, *, as_json: AsJson = False) -> None:
    """Show a step: its job, each attempt and model call, its error and what to do about it.

    Ends with 3 if there is no such run or step.
    """
    from infra.ops.cli.running import finish
    from infra.ops.steps.commands import show_step

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
    from infra.ops.cli.running import finish
    from infra.ops.steps.logs import show_logs

    finish(show_logs(where, run_id, step_id, limit=limit, as_json=as_json))


def _act_on_one(name: str, help_text: str, example: str) -> None:
    """Declare the command for one act on one step."""
    line = f"worker-llm steps {name} RUN llm_report_1d --reason '{example}'"

    @app.command(name, help=help_text, epilog=f"Example: `{line}`")
    @for_environment
    def act_on_one(
        where: Where,
        run_id: RunId,
        step_id: StepId,
        *,
        reason: Reason = None,
        author: As = None,
        yes: Yes = False,
        dry_run: DryRun = False,
        as_json: AsJson = False,
    ) -> None:
        from infra.ops.cli.running import finish
        from infra.ops.steps.act_commands import ActOptions, act_on_step
        from infra.ops.steps.acts import Note
        from shared.domain.steps import OperatorMove

        move = Note(name) if name in set(Note) else OperatorMove(name)
        options = ActOptions(
            reason=reason, author=author, yes=yes, dry_run=dry_run, as_json=as_json
        )
        finish(act_on_step(where, move, run_id, step_id, options))


_act_on_one(
    "cancel",
    """Cancel a RUNNING step: nothing more is paid for it, and no report is taken from it.

    Asks first. Ends with 1 if the step's state does not allow it, or another operator was
    first; with 2 if it was not confirmed; with 3 if there is no such step.
    """,
    "bad chart",
)
_act_on_one(
    "rerun",
    """Make a FAILED or CANCELLED step READY again, with fresh budgets of attempts and calls.

    Asks first. Ends with 1 if the step's state does not allow it, or another operator was
    first; with 2 if it was not confirmed; with 3 if there is no such step.
    """,
    "more quota",
)
_act_on_one(
    "acknowledge",
    """Say that a FAILED step was seen to: it no longer counts among those that need attention.

    Its status stays. A new claim of the step ends it. Ends with 1 if the step is not FAILED,
    with 3 if there is no such step.
    """,
    "bad symbol",
)


def _act_on_all(name: str, does: str, example: str) -> None:
    """Declare the command for the same act on all steps that are chosen: `NAME-all`."""
    help_text = f"""{does}, a few a second.

    Asks first, with the paid model calls that may follow. Each step is one guarded commit:
    given again, the command goes on where it was ended. Ends with 1 if a step was refused.
    """

    @app.command(
        f"{name}-all",
        help=help_text,
        epilog=f"Example: `worker-llm steps {name}-all {example}`",
    )
    @for_environment
    def act_on_all(
        where: Where,
        *,
        code: Code = None,
        prompt: Prompt = None,
        flow: Flow = None,
        symbol: Symbol = None,
        timeframe: Timeframe = None,
        id_part: IdPart = None,
        since: Since = None,
        until: Until = None,
        everything: Everything = False,
        limit: BulkLimit = 100,
        rate: Rate = 1.0,
        reason: Reason = None,
        author: As = None,
        yes: Yes = False,
        dry_run: DryRun = False,
        as_json: AsJson = False,
    ) -> None:
        from infra.ops.cli.running import finish
        from infra.ops.runs.finding import RunFilter
        from infra.ops.steps.bulk import BulkOptions, StepFilter
        from infra.ops.steps.bulk import act_on_all as work
        from shared.domain.steps import OperatorMove

        runs = RunFilter(
            flow_key=flow,
            symbol=symbol,
            timeframe=timeframe,
            id_part=id_part,
            since=since,
            until=until,
        )
        wanted = StepFilter(runs=runs, code=code, prompt=prompt)
        if wanted == StepFilter(runs=RunFilter()) and not everything:
            raise typer.BadParameter(
                "say which: --code, --symbol, --since and the like, or --all"
            )
        options = BulkOptions(
            limit=limit,
            per_second=rate,
            reason=reason,
            author=author,
            yes=yes,
            dry_run=dry_run,
            as_json=as_json,
        )
        finish(work(where, OperatorMove(name), wanted, options))


_act_on_all(
    "rerun",
    "Make all FAILED steps that are chosen READY again",
    "--code PROMPT_NOT_FOUND --reason 'published'",
)
_act_on_all(
    "cancel",
    "Cancel all RUNNING steps that are chosen",
    "--symbol BTCUSD --reason 'bad data'",
)
