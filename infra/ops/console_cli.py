"""`worker-llm console`."""

# What a command needs is imported when it runs.
# ruff: noqa: PLC0415

from typing import Annotated

import typer

from infra.ops.dead_letters_cli import SUBSCRIPTION, TOPIC, Subscription, Topic
from infra.ops.options import AsJson, Where, for_environment

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
    as_json: AsJson = False,
) -> None:
    """Serve the console of an environment on this machine until Ctrl-C, and print its link.

    Of a real project it shows and does what your own credentials allow. `worker-llm up` has
    a console already.
    """
    from infra.ops.console.dead_letters import DeadLetterPlaces
    from infra.ops.console.serving import keep_console
    from infra.ops.running import finish

    places = DeadLetterPlaces(subscription=subscription, jobs_topic=topic)
    finish(keep_console(where, places, port=port, as_json=as_json))
