"""The options that choose runs, the same wherever runs are chosen."""

from datetime import datetime
from typing import Annotated

import typer

from infra.ops.cli.moments import parse_moment

_WHICH = "Which runs"
Flow = Annotated[
    str | None, typer.Option("--flow", help="Only of this flow key.", rich_help_panel=_WHICH)
]
Symbol = Annotated[
    str | None, typer.Option("--symbol", help="Only of this symbol.", rich_help_panel=_WHICH)
]
Timeframe = Annotated[
    str | None,
    typer.Option(
        "--timeframe",
        help="Only with a report of this timeframe, such as 1d.",
        rich_help_panel=_WHICH,
    ),
]
IdPart = Annotated[
    str | None,
    typer.Option("--id", help="Only with this text in the run's id.", rich_help_panel=_WHICH),
]
Since = Annotated[
    datetime | None,
    typer.Option(
        "--since",
        parser=parse_moment,
        metavar="TIME",
        help="Only created at or after: 2026-01-05, 2026-01-05T09:00:00Z, or 2h ago as 2h.",
        rich_help_panel=_WHICH,
    ),
]
Until = Annotated[
    datetime | None,
    typer.Option(
        "--until",
        parser=parse_moment,
        metavar="TIME",
        help="Only created before.",
        rich_help_panel=_WHICH,
    ),
]
As = Annotated[
    str | None,
    typer.Option("--as", help="Who you are. Default: the account of your credentials."),
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done; do nothing.")]
