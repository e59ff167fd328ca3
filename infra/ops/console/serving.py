"""Serving the console: of a chosen environment, or as a part of the local one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from infra.local.emulators.pubsub import DEAD_LETTER_SUBSCRIPTION
from infra.local.plan import LocalEnvironment
from infra.local.processes.functions import JOBS_TOPIC
from infra.local.serving.asgi import serve
from infra.local.state_file import EnvironmentState, publish_state, read_state
from infra.ops.cli.options import EVALUATIONS, Where
from infra.ops.cli.terminal import print_json, say
from infra.ops.console.app import create_app
from infra.ops.console.dead_letters import DeadLetterPlaces
from infra.ops.console.security import Secrets
from infra.ops.environment.connection import Connection, connect, connection_to

CONSOLE = "console"
_LOCAL_PLACES = DeadLetterPlaces(subscription=DEAD_LETTER_SUBSCRIPTION, jobs_topic=JOBS_TOPIC)


async def keep_console(
    where: Where,
    places: DeadLetterPlaces,
    *,
    port: int,
    author: str | None,
    evaluations: Path,
    as_json: bool,
) -> int:
    """Serve the console of an environment until a signal; `author` acts in it."""
    async with (
        connect(where) as connection,
        _served(connection, places, port, author, evaluations) as link,
    ):
        if as_json:
            print_json({"environment": connection.name, "url": link})
        else:
            say(f"console of {connection.name}: {link}\nCtrl-C ends it")
        await asyncio.Event().wait()
    return 0


@asynccontextmanager
async def console_of(
    environment: LocalEnvironment, data_dir: Path
) -> AsyncIterator[EnvironmentState]:
    """Serve the running environment's console as one of its parts.

    Yields the environment's published state, whose `urls` now hold the link to open.
    """
    state = read_state(data_dir)
    if state is None:
        raise RuntimeError("the console belongs to an environment that is up")
    async with (
        connection_to(environment, state) as connection,
        _served(connection, _LOCAL_PLACES, 0) as link,
    ):
        with_console = replace(state, urls={**state.urls, CONSOLE: link})
        publish_state(data_dir, with_console)
        yield with_console


@asynccontextmanager
async def _served(
    connection: Connection,
    places: DeadLetterPlaces,
    port: int,
    author: str | None = None,
    evaluations: Path = EVALUATIONS,
) -> AsyncIterator[str]:
    own = Secrets()
    app = create_app(connection, own, places, author=author, evaluations=evaluations)
    async with serve(app, port=port, name=CONSOLE) as url:
        yield f"{url}/?key={own.access_key}"
