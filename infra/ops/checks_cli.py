"""`worker-llm doctor` and `worker-llm smoke`, with their options."""

# What a command needs is imported when it runs.
# ruff: noqa: PLC0415

from typing import Annotated

import typer

from infra.ops.options import AsJson, Where, for_environment


@for_environment
def doctor(where: Where, *, as_json: AsJson = False) -> None:
    """Find what is set up wrong, and print the command that mends it. Reads only.

    Looks at APIs, the database's place, trigger, queue, bindings, bucket, key, models, and at
    the prompts and schemas that waiting steps refer to. Ends with 1 if there is a problem.
    """
    from infra.ops.doctor_commands import show_doctor
    from infra.ops.running import finish

    finish(show_doctor(where, as_json=as_json))


@for_environment
def smoke(
    where: Where,
    *,
    model: Annotated[
        str | None, typer.Option(help="The model to ask. Default: the first that is allowed.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=1, help="Give up after so many seconds.")
    ] = 300.0,
    as_json: AsJson = False,
) -> None:
    """Send one run that must succeed and one that must fail through an environment.

    Makes one model call, which in a real project is paid for, and removes what was written.
    Ends with 1 if a run ended otherwise than it must.
    """
    from infra.ops.running import finish
    from infra.ops.smoke import show_smoke

    finish(show_smoke(where, model=model, wait_seconds=timeout, as_json=as_json))
