"""`worker-llm smoke`, with its options."""

# What a command needs is imported when it runs.
# ruff: noqa: PLC0415

from typing import Annotated

import typer

from infra.ops.cli.options import AsJson, Where, for_environment


@for_environment
def smoke(
    where: Where,
    *,
    model: Annotated[
        str | None, typer.Option(help="The model to ask. Default: the first that is allowed.")
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            min=1,
            help="Give up after so many seconds: twice the five minutes between sweeps in dev.",
        ),
    ] = 600.0,
    as_json: AsJson = False,
) -> None:
    """Send one run that must succeed and one that must fail through an environment.

    Makes one model call, which in a real project is paid for, and removes what was written.
    Where calls are announced, a forged hook must be refused, and with WEBHOOK_SECRET set a
    signed one about a run that is not there be taken, and change nothing.
    Ends with 1 if anything ended otherwise than it must.
    """
    from infra.ops.cli.running import finish
    from infra.ops.smoke.commands import show_smoke

    finish(show_smoke(where, model=model, wait_seconds=timeout, as_json=as_json))
