"""`worker-llm runs submit` and `worker-llm runs export`."""

# What a command needs is imported when it runs.
# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer

from infra.ops.cli.options import AsJson, Where, for_environment
from infra.ops.cli.run_options import Yes


@for_environment
def submit(
    where: Where,
    file: Annotated[
        Path,
        typer.Argument(help="The flow run document, as JSON.", exists=True, dir_okay=False),
    ],
    *,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Write a flow run from a file, after its contract was checked; each fault has its line.

    Asks first, as its READY reports are paid for. Ends with 1 if the file breaks the contract
    or there is a run of its id, with 2 if it was not confirmed.
    """
    from infra.ops.cli.running import finish
    from infra.ops.transfer.commands import submit as work

    finish(work(where, file, yes=yes, as_json=as_json))


@for_environment
def export(
    where: Where,
    run_ids: Annotated[list[str], typer.Argument(metavar="RUN...", help="Runs by their ids.")],
    folder: Annotated[Path, typer.Argument(help="Where to; nothing there is overwritten.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Write runs to a folder with their prompts, schemas and objects, as `run` reads them.

    What is not there any more is named and left out. Ends with 3 if there is no such run.
    """
    from infra.ops.cli.running import finish
    from infra.ops.transfer.commands import export as work

    finish(work(where, run_ids, folder, as_json=as_json))
