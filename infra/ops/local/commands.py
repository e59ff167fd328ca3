"""`worker-llm up` and `worker-llm demo`: run the local environment and show it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table

from infra.local.demo import DemoResult, StepResult, run_demo, seed
from infra.local.environment import local_environment
from infra.local.plan import LocalEnvironment
from infra.local.scenario.model import Scenario
from infra.ops.cli.terminal import json_text, print_json, say
from infra.ops.console.serving import CONSOLE, console_of
from infra.ops.local.faults import play_faults

#: A table is as wide as what is in it: a pipe cuts nothing.
_PIPE_COLUMNS = 1_000


async def keep_up(
    *,
    embedded: bool | None,
    with_demo: bool,
    faults: Path | None,
    as_json: bool,
    data_dir: Path,
) -> int:
    """Run the environment until a signal, or until one of its parts ends by itself."""
    async with (
        _environment(embedded, data_dir) as environment,
        console_of(environment, data_dir) as state,
    ):
        if faults:
            await play_faults(environment.addresses["Gemini stand-in"], faults)
        if with_demo:
            await seed(environment, _scenario(environment.bucket))
        if as_json:
            print_json(state.as_json())
        else:
            _print_up(environment, state.urls[CONSOLE])
        await asyncio.Event().wait()
    return 0


def _print_up(environment: LocalEnvironment, console: str) -> None:
    say(f"up ({environment.backend}), project {environment.project}")
    for name, address in environment.addresses.items():
        say(f"  {name}: {address}")
    say(f"  logs: {environment.log_folder}")
    say(f"console: {console}\nCtrl-C ends everything")


async def show_demo(*, embedded: bool | None, as_json: bool, data_dir: Path) -> int:
    """Run the demo; 0 if every step ended as expected."""
    async with _environment(embedded, data_dir) as environment:
        scenario = _scenario(environment.bucket)
        result = await _watched_demo(environment, scenario)
    if as_json:
        say(json_text(result.as_json()))
    else:
        _print(result, environment)
    return 1 if result.unexpected else 0


@asynccontextmanager
async def _environment(
    embedded: bool | None,  # noqa: FBT001 - three-valued: None lets the machine decide
    data_dir: Path,
) -> AsyncIterator[LocalEnvironment]:
    async with local_environment(
        embedded=embedded, data_dir=data_dir, say=lambda line: say(line, err=True)
    ) as environment:
        yield environment


def _scenario(bucket: str) -> Scenario:
    # Late, as drawing charts loads pandas and matplotlib.
    from infra.local.scenario import build_scenario  # noqa: PLC0415

    return build_scenario(bucket=bucket)


async def _watched_demo(environment: LocalEnvironment, scenario: Scenario) -> DemoResult:
    """Run it with a bar on standard error, which leaves standard output to the result."""
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("steps", total=len(scenario.expectations))

        def show(steps: Sequence[StepResult]) -> None:
            bar.update(task, completed=sum(step.ended for step in steps))

        return await run_demo(environment, scenario, progress=show)


def _print(result: DemoResult, environment: LocalEnvironment) -> None:
    console = Console()
    console = console if console.is_terminal else Console(width=_PIPE_COLUMNS)
    console.print(demo_table(result.steps))
    for step in result.steps:
        if step.gcs_uri:
            path = environment.objects.root / step.gcs_uri.removeprefix("gs://")
            say(f"a report to read: {path}")
            break
    for line in result.unexpected:
        say(f"unexpected: {line}", err=True)
    calls = result.firestore_calls
    say(f"{result.backend}; Firestore calls: {calls}; logs: {environment.log_folder}")


def demo_table(steps: Sequence[StepResult]) -> Table:
    """A row for each step; what does not fit is folded, never cut."""
    head = ("run", "step", "status", "ms", "tokens", "artifact")
    table = Table(*(Column(name, overflow="fold") for name in head))
    for step in steps:
        status = f"{step.status} {step.error_code}" if step.error_code else step.status
        numbers = (_text(step.duration_ms), _text(step.total_tokens))
        table.add_row(step.run_id, step.step_id, status, *numbers, step.gcs_uri or "")
    return table


def _text(number: int | None) -> str:
    return "" if number is None else str(number)
