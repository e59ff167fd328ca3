"""The command line `worker-llm`.

What a command needs is imported when it runs: `--help` answers at once.
"""

# Late imports are what keeps the start short.
# ruff: noqa: PLC0415

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from infra.ops import (
    checks_cli,
    console_cli,
    dead_letters_cli,
    registry_cli,
    report_cli,
    runs_cli,
    steps_cli,
)
from infra.ops.options import DATA_DIR, AsJson

app = typer.Typer(
    help="Drive the LLM worker on this machine, and see how its runs stand anywhere.",
    epilog="Exit codes: 0 done, 1 it could not be done, 2 wrong usage, 3 no such thing, "
    "130 interrupted.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
app.add_typer(runs_cli.app, name="runs")
app.add_typer(steps_cli.app, name="steps")
app.add_typer(report_cli.app, name="report")
app.add_typer(registry_cli.prompts_app, name="prompts")
app.add_typer(registry_cli.schemas_app, name="schemas")
app.add_typer(dead_letters_cli.app, name="dead-letters")
app.command(epilog="Example: `worker-llm console --project my-project --port 8080`")(
    console_cli.console
)
app.command(epilog="Example: `worker-llm doctor --project my-project`")(checks_cli.doctor)
app.command(epilog="Example: `worker-llm smoke --project my-project`")(checks_cli.smoke)

_Embedded = Annotated[
    bool | None,
    typer.Option(
        "--embedded/--emulators",
        help="Run in this process alone, or insist on the emulators. Default: what is there.",
    ),
]
_DataDir = Annotated[Path, typer.Option(help="Folder for logs, bundles and objects.")]


class _Stage(StrEnum):
    DISPATCHER = "dispatcher"
    EXECUTOR = "executor"


class _Backend(StrEnum):
    AI_STUDIO = "ai_studio"
    VERTEX = "vertex"


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
    from infra.ops.local_commands import keep_up
    from infra.ops.running import finish

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
    from infra.ops.local_commands import show_demo
    from infra.ops.running import finish

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
    from infra.ops.bundles import show_bundle
    from infra.ops.running import finish

    target = out or DATA_DIR / "bundles" / stage.value
    finish(show_bundle(stage.value, target, as_json=as_json))


@app.command(epilog="Example: `GEMINI_API_KEY=… worker-llm run run.json --out reports`")
def run(
    flow_run: Annotated[Path, typer.Argument(help="The flow run document, as JSON.")],
    *,
    registry: Annotated[
        Path | None,
        typer.Option(help="Holds llm_prompts/ID.json, llm_schemas/ID.json. Default: beside."),
    ] = None,
    objects: Annotated[
        Path | None,
        typer.Option(help="Holds BUCKET/NAME for each gs:// URI. Default: objects/ beside."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the reports.")] = Path("reports"),
    backend: Annotated[
        _Backend | None,
        typer.Option(help="Default: ai_studio with GEMINI_API_KEY set, else a stand-in."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Execute the READY steps of a local flow run and write the reports to a folder."""
    from infra.ops.prompt_trial import Trial, run_trial
    from infra.ops.running import finish

    beside = flow_run.resolve().parent
    trial = Trial(
        flow_run=flow_run,
        registry=registry or beside,
        objects=objects or beside / "objects",
        out=out,
        backend=backend and backend.value,
    )
    finish(run_trial(trial, as_json=as_json))


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
