"""Ids that a shell completes: of the newest runs, and of a run's report steps.

Whatever goes wrong, nothing is completed and nothing is said: a shell shows no errors here.
"""

# A shell waits for this: what is needed is imported when it is asked for.
# ruff: noqa: PLC0415

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import typer

from infra.ops.cli.options import DATA_DIR, DEFAULT_DATABASE, Where

_MOST = 30
_SECONDS = 3.0


def complete_run(context: typer.Context, incomplete: str) -> list[str]:
    """The ids of the newest runs that begin so."""
    return [name for name in _asked(context, None) if name.startswith(incomplete)]


def complete_step(context: typer.Context, incomplete: str) -> list[str]:
    """The ids of the report steps of the run that stands before."""
    run_id = context.params.get("run_id")
    found = _asked(context, run_id) if isinstance(run_id, str) else []
    return [name for name in found if name.startswith(incomplete)]


def _asked(context: typer.Context, run_id: str | None) -> Sequence[str]:
    given = context.params
    where = Where(
        project=given.get("project"),
        database=given.get("database") or DEFAULT_DATABASE,
        local=bool(given.get("local")),
        data_dir=Path(given.get("data_dir") or DATA_DIR),
    )
    with suppress(Exception):
        return asyncio.run(asyncio.wait_for(_ids(where, run_id), _SECONDS))
    return []


async def _ids(where: Where, run_id: str | None) -> Sequence[str]:
    from infra.ops.environment.connection import connect
    from infra.ops.runs.reading import newest_runs, read_run

    async with connect(where) as connection:
        if run_id is None:
            return [run.run_id for run in await newest_runs(connection, limit=_MOST)]
        run = await read_run(connection, run_id)
        return [step.step_id for step in run.steps if step.ours]
