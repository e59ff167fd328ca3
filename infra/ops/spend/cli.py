"""`worker-llm spend`."""

# What a command needs is imported when it runs.
# ruff: noqa: PLC0415

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from infra.ops.cli.moments import parse_moment
from infra.ops.cli.options import AsJson, Where, for_environment

app = typer.Typer(
    help="Compare the provider's bill with the job records.", no_args_is_help=True
)

_File = Annotated[
    Path,
    typer.Argument(
        help="A billing export as BigQuery writes it: JSON, one object a line.",
        exists=True,
        dir_okay=False,
    ),
]
_Since = Annotated[
    datetime | None,
    typer.Option(
        parser=parse_moment,
        metavar="WHEN",
        help="Leave out calls before.",
    ),
]
_Until = Annotated[
    datetime | None,
    typer.Option(parser=parse_moment, metavar="WHEN", help="Leave out calls after."),
]


@app.command(
    epilog="Example: `worker-llm spend reconcile bill.jsonl --since 2026-11-01 --project p`"
)
@for_environment
def reconcile(
    where: Where,
    file: _File,
    *,
    since: _Since = None,
    until: _Until = None,
    as_json: AsJson = False,
) -> None:
    """List every line of a bill without a call, and every call without a line.

    Lines are matched by the labels of the calls: run, step, claim and call. Also listed are
    lines that stand there twice, and those of another service tier than the answer said. Ends
    with 1 if anything is listed. Job records are kept for 30 days after their step has ended.
    """
    from infra.ops.cli.running import finish
    from infra.ops.spend.commands import reconcile_export

    finish(reconcile_export(where, file, since=since, until=until, as_json=as_json))
