"""The command line `worker-llm`.

What a command needs is imported when it runs: `--help` answers at once.
"""

# Late imports are what keeps the start short.
# ruff: noqa: PLC0415

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from infra.ops.bootstrap import cli as bootstrap_command
from infra.ops.cli.options import DATA_DIR, AsJson
from infra.ops.console import cli as console
from infra.ops.dead_letters import cli as dead_letters
from infra.ops.doctor import cli as doctor_command
from infra.ops.evaluation import cli as evaluation
from infra.ops.mcp import cli as mcp_command
from infra.ops.quota import cli as quota_command
from infra.ops.registry import cli as registry_commands
from infra.ops.reports import cli as report
from infra.ops.runs import cli as runs
from infra.ops.smoke import cli as smoke_command
from infra.ops.spend import cli as spend
from infra.ops.steps import cli as steps
from infra.ops.transfer import cli as transfer

app = typer.Typer(
    help="Drive the LLM worker on this machine, and see how its runs stand anywhere.",
    epilog="Exit codes: 0 done, 1 it could not be done, 2 wrong usage, 3 no such thing, "
    "130 interrupted.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    # All commands below take them from here.
    context_settings={"help_option_names": ["-h", "--help"]},
)
runs.app.command(epilog="Example: `worker-llm runs submit run.json --local`")(transfer.submit)
runs.app.command(epilog="Example: `worker-llm runs export RUN_A RUN_B cases/`")(transfer.export)
app.add_typer(runs.app, name="runs")
app.add_typer(steps.app, name="steps")
app.add_typer(report.app, name="report")
app.add_typer(registry_commands.prompts_app, name="prompts")
app.add_typer(registry_commands.schemas_app, name="schemas")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(spend.app, name="spend")
app.add_typer(evaluation.app, name="eval")
app.command(epilog="Example: `worker-llm console --project my-project --port 8080`")(
    console.console
)
app.command(epilog="Example: `worker-llm mcp --project my-project`")(mcp_command.mcp)
app.command(
    epilog="Examples: `worker-llm bootstrap --project my-project --region europe-west4` · "
    "`worker-llm bootstrap --project my-project --region europe-west4 --github me/it --dry-run`"
)(bootstrap_command.bootstrap)
app.command(epilog="Example: `worker-llm doctor --project my-project`")(doctor_command.doctor)
app.command(
    epilog="Examples: `worker-llm quota` · `worker-llm quota --json | jq '.quotas[].waiting'`"
)(quota_command.quota)
app.command(epilog="Example: `GEMINI_API_KEY=… worker-llm run run.json --out reports`")(
    evaluation.run
)
app.command(epilog="Example: `worker-llm samples samples --count 40`")(evaluation.samples)
app.command(epilog="Example: `worker-llm smoke --project my-project`")(smoke_command.smoke)

_Embedded = Annotated[
    bool | None,
    typer.Option(
        "--embedded/--emulators",
        help="Run in this process alone, or insist on the emulators. Default: what is there.",
    ),
]
_DataDir = Annotated[Path, typer.Option(help="Folder for logs, bundles and objects.")]


def _print_version(*, asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        from infra.ops.cli.terminal import say

        say(f"worker-llm {version('worker-llm-client')}")
        raise typer.Exit


@app.callback()
def program(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=lambda asked: _print_version(asked=asked),
            is_eager=True,
            help="Print the version and end.",
        ),
    ] = False,
) -> None:
    """Drive the LLM worker on this machine, and see how its runs stand anywhere."""
    del version


class _Stage(StrEnum):
    DISPATCHER = "dispatcher"
    EXECUTOR = "executor"


@app.command(epilog="Examples: `worker-llm up --demo` · `worker-llm up --embedded`")
def up(
    *,
    embedded: _Embedded = None,
    with_demo: Annotated[
        bool, typer.Option("--demo", help="Begin the demo's runs in it, for something to see.")
    ] = False,
    faults: Annotated[
        Path | None,
        typer.Option(help="Have the model's stand-in misbehave as this JSON file says."),
    ] = None,
    as_json: AsJson = False,
    data_dir: _DataDir = DATA_DIR,
) -> None:
    """Start the local environment and keep it running until Ctrl-C.

    With --json it prints where its parts are, once it is up.
    """
    from infra.ops.cli.running import finish
    from infra.ops.local.commands import keep_up

    finish(
        keep_up(
            embedded=embedded,
            with_demo=with_demo,
            faults=faults,
            as_json=as_json,
            data_dir=data_dir.resolve(),
        )
    )


@app.command(epilog="Examples: `worker-llm demo` · `worker-llm demo --json | jq .steps`")
def demo(
    *,
    embedded: _Embedded = None,
    as_json: AsJson = False,
    data_dir: _DataDir = DATA_DIR,
) -> None:
    """Run the main job end to end and print what became of every step."""
    from infra.ops.cli.running import finish
    from infra.ops.local.commands import show_demo

    finish(show_demo(embedded=embedded, as_json=as_json, data_dir=data_dir.resolve()))


@app.command(epilog="Example: `worker-llm bundle executor --out executor.zip`")
def bundle(
    stage: _Stage,
    out: Annotated[
        Path | None, typer.Option(help="A folder, or a path ending in .zip.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Write the source of a function as it is deployed."""
    from infra.ops.cli.running import finish
    from infra.ops.local.bundles import show_bundle

    target = out or DATA_DIR / "bundles" / stage.value
    finish(show_bundle(stage.value, target, as_json=as_json))


def main() -> None:
    """Run the command line; a defect is told by its type and place alone."""
    from infra.local.serving.loopback import bypass_proxies

    bypass_proxies(os.environ)
    try:
        app()
    except Exception as defect:  # noqa: BLE001 -- a traceback may quote what was typed or read
        from infra.ops.cli.terminal import say
        from shared.domain.defects import place_of

        say(f"a defect of worker-llm: {place_of(defect)}; please report it", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
