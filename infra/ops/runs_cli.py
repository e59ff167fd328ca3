"""`worker-llm runs`."""

# What a command needs is imported when it runs.
# ruff: noqa: PLC0415

from typing import Annotated

import typer

from infra.ops.options import AsJson, Where, for_environment
from shared.domain.steps import StepStatus

app = typer.Typer(
    help="See how runs stand, and what wants your attention.", no_args_is_help=True
)

_RunId = Annotated[str, typer.Argument(help="Such as 20260105-090000_BTCUSD_demo.")]
_MOST_RUNS = 500


@app.command(
    "list",
    epilog="Examples: `worker-llm runs list` · `worker-llm runs list --status FAILED` · "
    "`worker-llm runs list --json | jq '.runs[].runId'`",
)
@for_environment
def list_runs(
    where: Where,
    *,
    limit: Annotated[
        int, typer.Option(min=1, max=_MOST_RUNS, help="How many of the newest to look at.")
    ] = 20,
    status: Annotated[
        StepStatus | None,
        typer.Option(
            case_sensitive=False, help="Only runs of this status, or with such a step."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the newest runs: status, steps, age, tokens, and the worst that is to be said."""
    from infra.ops.running import finish
    from infra.ops.runs_commands import show_list

    finish(show_list(where, limit=limit, status=status, as_json=as_json))


@app.command(
    epilog="Examples: `worker-llm runs show 20260105-090000_BTCUSD_demo` · "
    "`worker-llm runs show RUN --json --project my-project`",
)
@for_environment
def show(where: Where, run_id: _RunId, *, as_json: AsJson = False) -> None:
    """Show a run as a tree of its steps, with every error and what to do about it.

    Ends with 3 if there is no such run.
    """
    from infra.ops.running import finish
    from infra.ops.runs_commands import show_run

    finish(show_run(where, run_id, as_json=as_json))


@app.command(
    epilog="Examples: `worker-llm runs watch RUN` · `worker-llm runs watch RUN && echo done`",
)
@for_environment
def watch(
    where: Where,
    run_id: _RunId,
    *,
    timeout: Annotated[
        float, typer.Option(min=0, help="Give up after so many seconds.")
    ] = 3600.0,
    as_json: AsJson = False,
) -> None:
    """Follow a run until each of its report steps has ended.

    Ends with 0 if they all ended well, 4 if one failed, 5 if the time was up. In a pipe it
    prints a line for each change of a step, with --json an object.
    """
    from infra.ops.running import finish
    from infra.ops.runs_watch import watch_run

    finish(watch_run(where, run_id, timeout_seconds=timeout, as_json=as_json))
