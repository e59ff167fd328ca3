"""`worker-llm console`."""

# What a command needs is imported when it runs.
# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer

from infra.ops.cli.options import EVALUATIONS, AsJson, Where, for_environment
from infra.ops.cli.run_options import As
from infra.ops.dead_letters.cli import SUBSCRIPTION, TOPIC, Subscription, Topic

_HIGHEST_PORT = 65_535


@for_environment
def console(
    where: Where,
    *,
    port: Annotated[
        int, typer.Option(min=0, max=_HIGHEST_PORT, help="0 takes a free one.")
    ] = 0,
    topic: Topic = TOPIC,
    subscription: Subscription = SUBSCRIPTION,
    author: As = None,
    evaluations: Annotated[
        Path, typer.Option(help="A folder of evaluations, to be looked at.")
    ] = EVALUATIONS,
    as_json: AsJson = False,
) -> None:
    """Serve the console of an environment on this machine until Ctrl-C, and print its link.

    Of a real project it shows and does what your own credentials allow. `worker-llm up` has
    a console already.
    """
    from infra.ops.cli.running import finish
    from infra.ops.console.dead_letters import DeadLetterPlaces
    from infra.ops.console.serving import keep_console

    places = DeadLetterPlaces(subscription=subscription, jobs_topic=topic)
    finish(
        keep_console(
            where, places, port=port, author=author, evaluations=evaluations, as_json=as_json
        )
    )
