"""`worker-llm runs`."""

# What a command needs is imported when it runs.
# ruff: noqa: PLC0415

from typing import Annotated

import typer

from infra.ops.cli.options import AsJson, Where, for_environment
from infra.ops.cli.run_options import Flow, IdPart, Since, Symbol, Timeframe, Until
from infra.ops.runs.completion import complete_run
from shared.domain.steps import StepStatus

app = typer.Typer(help="See how runs stand, and what needs attention.", no_args_is_help=True)

_RunId = Annotated[
    str,
    typer.Argument(help="Such as 20260105-090000_BTCUSD_demo.", autocompletion=complete_run),
]
_MOST_RUNS = 500


@app.command(
    "list",
    epilog="Examples: `worker-llm runs list` · "
    "`worker-llm runs list --status FAILED --since 2d` · "
    "`worker-llm runs list --json | jq '.runs[].runId'`",
)
@for_environment
def list_runs(
    where: Where,
    *,
    status: Annotated[
        StepStatus | None,
        typer.Option(
            case_sensitive=False,
            help="Only of this status, or with a report step of it.",
            rich_help_panel="Which runs",
        ),
    ] = None,
    flow: Flow = None,
    symbol: Symbol = None,
    timeframe: Timeframe = None,
    id_part: IdPart = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[int, typer.Option(min=1, max=_MOST_RUNS, help="How many on a page.")] = 20,
    after: Annotated[
        str | None, typer.Option(help="Go on behind an earlier page: its `next`.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All pages.")] = False,
    as_json: AsJson = False,
) -> None:
    """List runs, the newest first: status, steps, tokens, and the worst that is to be said.

    The filters are asked of the database. On a terminal, what needs attention is said first.
    """
    from infra.ops.cli.running import finish
    from infra.ops.runs.commands import show_list
    from infra.ops.runs.finding import RunFilter

    wanted = RunFilter(
        status=status,
        flow_key=flow,
        symbol=symbol,
        timeframe=timeframe,
        id_part=id_part,
        since=since,
        until=until,
    )
    pages = (limit, after, everything)
    finish(show_list(where, wanted, pages=pages, as_json=as_json))


@app.command(
    epilog="Examples: `worker-llm runs attention` · "
    "`worker-llm runs attention --json | jq .total`",
)
@for_environment
def attention(where: Where, *, as_json: AsJson = False) -> None:
    """Show what needs attention: steps that failed or are stuck, grouped by their cause.

    However old they are. `steps acknowledge` takes a failed step off the list. Ends with 0
    also when something needs attention.
    """
    from infra.ops.cli.running import finish
    from infra.ops.runs.commands import show_attention

    finish(show_attention(where, as_json=as_json))


@app.command(
    epilog="Examples: `worker-llm runs show 20260105-090000_BTCUSD_demo` · "
    "`worker-llm runs show RUN --json --project my-project`",
)
@for_environment
def show(where: Where, run_id: _RunId, *, as_json: AsJson = False) -> None:
    """Show a run as a tree of its steps, with every error and what to do about it.

    Ends with 3 if there is no such run.
    """
    from infra.ops.cli.running import finish
    from infra.ops.runs.commands import show_run

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
    from infra.ops.cli.running import finish
    from infra.ops.runs.watch import watch_run

    finish(watch_run(where, run_id, timeout_seconds=timeout, as_json=as_json))
