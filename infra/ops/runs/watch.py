"""`worker-llm runs watch`."""

import asyncio
from collections.abc import AsyncIterator

from rich.live import Live

from infra.ops.cli.options import Where
from infra.ops.cli.terminal import json_text, print_line, say, terminal
from infra.ops.environment.connection import Connection, connect
from infra.ops.runs.commands import run_tree, step_fields
from infra.ops.runs.reading import read_run
from infra.ops.runs.view import RunView, StepView
from shared.domain.steps import StepStatus

A_STEP_FAILED = 4
TIME_IS_UP = 5
_POLL_SECONDS = 1.0


async def watch_run(where: Where, run_id: str, *, timeout_seconds: float, as_json: bool) -> int:
    """Follow the run until its report steps have ended; see the command for the result."""
    console = None if as_json else terminal()
    async with connect(where) as connection:
        views = _views(connection, run_id, timeout_seconds)
        if console is None:
            last = await _print_changes(views, as_json=as_json)
        else:
            last = await _follow(views, Live(console=console, auto_refresh=False))
    if not last.ended:
        return TIME_IS_UP
    failed = any(step.ours and step.status == StepStatus.FAILED for step in last.steps)
    return A_STEP_FAILED if failed else 0


async def _views(
    connection: Connection, run_id: str, timeout_seconds: float
) -> AsyncIterator[RunView]:
    """The run again and again, at last when it has ended or the time is up."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_seconds
    while True:
        run = await read_run(connection, run_id)
        yield run
        if run.ended or loop.time() >= deadline:
            return
        await asyncio.sleep(_POLL_SECONDS)


async def _follow(views: AsyncIterator[RunView], live: Live) -> RunView:
    with live:
        async for run in views:
            live.update(run_tree(run), refresh=True)
    return run


async def _print_changes(views: AsyncIterator[RunView], *, as_json: bool) -> RunView:
    seen: dict[str, tuple[str, str]] = {}
    async for run in views:
        for step in run.steps:
            state = (step.status, step.finding.reason)
            if seen.get(step.step_id) != state:
                seen[step.step_id] = state
                _print_step(step, as_json=as_json)
    return run


def _print_step(step: StepView, *, as_json: bool) -> None:
    if as_json:
        say(json_text(step.as_json()))
    else:
        print_line(step_fields(step))
