"""`worker-llm mcp`."""

# What a command needs is imported when it runs.
# ruff: noqa: PLC0415

from typing import Annotated

import typer

from infra.ops.cli.options import Where, for_environment
from infra.ops.cli.run_options import As


@for_environment
def mcp(
    where: Where,
    context: typer.Context,
    *,
    allow_acts: Annotated[
        bool,
        typer.Option(
            "--allow-acts", help="Also cancel, rerun and acknowledge, each after its forecast."
        ),
    ] = False,
    author: As = None,
) -> None:
    """Serve the reading commands as tools to an assisting program, over standard input.

    The protocol is the Model Context Protocol. Each tool answers with the JSON that its command
    is stated to print. What models wrote is left out unless it is asked for.
    """
    from infra.ops.cli.running import finish
    from infra.ops.mcp.server import serve_tools

    finish(
        serve_tools(where, context.find_root().command, allow_acts=allow_acts, author=author)
    )
