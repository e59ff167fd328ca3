"""`worker-llm eval`, `worker-llm run` and `worker-llm samples`."""

# What a command needs is imported when it runs.
# ruff: noqa: PLC0415

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from infra.ops.cli.options import EVALUATIONS, AsJson, Where, for_environment

if TYPE_CHECKING:
    from infra.ops.evaluation.evaluating import Evaluation

_DEFAULT_COMMAND = "run"


class _WithDefault(TyperGroup):
    """A group that runs its first command where none is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Name the command that is left out; `--help` is the group's own."""
        if args and args[0] not in self.commands and args[0] not in {"--help", "-h"}:
            args = [_DEFAULT_COMMAND, *args]
        return super().parse_args(ctx, args)


class AskedBackend(StrEnum):
    """Which of Gemini's endpoints is asked."""

    AI_STUDIO = "ai_studio"
    VERTEX = "vertex"


app = typer.Typer(
    cls=_WithDefault,
    help="Compare prompts, schemas and models on the inputs of past steps, with evidence. "
    "`worker-llm eval …` is short for `worker-llm eval run …`.",
    no_args_is_help=True,
)

OfAsked = Annotated[
    AskedBackend | None,
    typer.Option(help="Default: ai_studio with GEMINI_API_KEY set, else a stand-in."),
]
PayLostCalls = Annotated[
    bool,
    typer.Option(
        "--pay-lost-calls",
        help="Ask again where a call was cut off and may have been paid for.",
    ),
]
Effects = Annotated[
    Path | None,
    typer.Option(help="Have the stand-in answer worse, as this JSON file says."),
]
MaxCost = Annotated[
    str,
    typer.Option(help="The most USD that all calls may cost. Required with a real model."),
]


@app.command(
    _DEFAULT_COMMAND,
    epilog="Examples: `worker-llm eval run samples --variant current --variant new.json` · "
    "`worker-llm eval run --project my-project --timeframe 1d --sample 200 --variant stored "
    "--variant llm_prompt_1d_report_v1_1.json --max-cost 5 --fail-if 'valid < -1%'`",
)
@for_environment
def evaluate(
    where: Where,
    runs: Annotated[
        Path | None,
        typer.Argument(
            help="A folder or file of flow runs. Default: past steps of an environment.",
            exists=True,
        ),
    ] = None,
    *,
    variant: Annotated[
        list[str],
        typer.Option(
            help="`stored`, `current`, or [NAME=]FILE: a prompt or a schema named by its id, or"
            " a JSON object with prompt, schema, llmProfile. The first is the baseline."
        ),
    ],
    checks: Annotated[
        list[Path] | None, typer.Option(help="Checks of the reports, .json or .py.")
    ] = None,
    fail_if: Annotated[
        list[str] | None,
        typer.Option(help="A loss to end with 1 for, such as 'valid < -1%'."),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Steps of runs from this day on, YYYY-MM-DD.")
    ] = None,
    symbol: Annotated[str | None, typer.Option(help="Steps of this symbol.")] = None,
    timeframe: Annotated[str | None, typer.Option(help="Steps of this timeframe.")] = None,
    sample: Annotated[int, typer.Option(help="At most so many cases.", min=1)] = 200,
    seed: Annotated[int, typer.Option(help="The same seed draws the same cases.")] = 1,
    out: Annotated[
        Path, typer.Option(help="Folder for all that is made, and for resuming.")
    ] = EVALUATIONS,
    max_cost: MaxCost = "",
    parallel: Annotated[int, typer.Option(help="Calls at a time.", min=1, max=64)] = 4,
    calls_per_minute: Annotated[
        float,
        typer.Option(
            help="At most so many. Default: 30, 10 on past steps of an environment,"
            " any number with a stand-in.",
            min=0,
        ),
    ] = 0,
    pay_lost_calls: PayLostCalls = False,
    backend: OfAsked = None,
    judge: Annotated[
        str | None,
        typer.Option(
            help="A model of another family that compares the reports, in both orders."
            " Default: none."
        ),
    ] = None,
    effects: Effects = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing before paying.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Ask the model for past steps' reports by several variants, and say which is better.

    Nothing is written but the folder. What was answered once is not paid for again: the same
    command goes on where it was broken off. Ends with 1 if a stated loss was found.
    """
    from infra.ops.cli.running import finish
    from infra.ops.evaluation.commands import evaluate as work
    from infra.ops.evaluation.options import Options, evaluation_of

    options = Options(
        runs=runs,
        variants=variant,
        checks=checks or [],
        fail_if=fail_if or [],
        since=since,
        symbol=symbol,
        timeframe=timeframe,
        sample=sample,
        seed=seed,
        out=out,
        max_cost=max_cost,
        parallel=parallel,
        calls_per_minute=calls_per_minute,
        pay_lost_calls=pay_lost_calls,
        backend=backend and backend.value,
        effects=effects,
        judge=judge,
    )

    async def evaluated() -> int:
        evaluation: Evaluation = evaluation_of(where, options)
        return await work(evaluation, yes=yes, as_json=as_json)

    finish(evaluated())


@app.command(
    epilog="Example: `worker-llm eval watch --control llm_prompt_1d_report_v1_0 --canary "
    "llm_prompt_1d_report_v1_1 --since 2026-01-05 --project my-project`",
)
@for_environment
def watch(
    where: Where,
    *,
    control: Annotated[str, typer.Option(help="The prompt in use.")],
    canary: Annotated[str, typer.Option(help="The prompt on trial, for a share of the runs.")],
    since: Annotated[
        str | None, typer.Option(help="Steps of runs from this day on, YYYY-MM-DD.")
    ] = None,
    margin: Annotated[
        float, typer.Option(help="A loss of so many points is taken for equal.", min=0, max=100)
    ] = 5.0,
    error_rate: Annotated[
        float,
        typer.Option(
            help="The chance of a wrong end, over all looks together.", min=0.0001, max=0.5
        ),
    ] = 0.05,
    every: Annotated[
        float | None,
        typer.Option(
            help="Look again after so many seconds, until there is a decision.", min=1
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare a prompt on trial with the one in use, by the steps that ended so far.

    Says `continue`, `stop` or `done`, however often it is asked: the test allows for it. Ends
    with 0 for done, 1 for stop, 6 for continue. Nothing is written.
    """
    from infra.ops.cli.running import finish
    from infra.ops.evaluation.options import day
    from infra.ops.evaluation.watch_command import watch_canary
    from infra.ops.evaluation.watching import Canary

    async def watched() -> int:
        trial = Canary(
            control=control,
            canary=canary,
            since=day(since),
            margin=margin / 100,
            error_rate=error_rate,
        )
        return await watch_canary(where, trial, every_seconds=every, as_json=as_json)

    finish(watched())


def samples(
    folder: Annotated[Path, typer.Argument(help="A folder that is empty or not there yet.")],
    *,
    count: Annotated[int, typer.Option(help="So many runs.", min=1, max=200)] = 24,
    drawn: Annotated[
        bool, typer.Option("--charts/--no-charts", help="Draw a chart for each run.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Write sample runs with real market data to a folder, to try prompts on."""
    from infra.ops.cli.running import finish
    from infra.ops.evaluation.sample_files import samples as work

    finish(work(folder, count, drawn=drawn, as_json=as_json))


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
    max_cost: Annotated[
        str, typer.Option(help="The most USD that all calls may cost. Default: no ceiling.")
    ] = "",
    pay_lost_calls: PayLostCalls = False,
    backend: OfAsked = None,
    as_json: AsJson = False,
) -> None:
    """Execute the READY steps of a local flow run and write the reports to a folder.

    The same inputs are asked for once in a folder. A report that was made from others is never
    overwritten: the command then ends with 1 before it asks.
    """
    from infra.ops.cli.running import finish
    from infra.ops.evaluation.options import checked_cost
    from infra.ops.evaluation.trial import Trial
    from infra.ops.evaluation.trial_command import run_trial

    async def ran() -> int:
        beside = flow_run.resolve().parent
        trial = Trial(
            flow_run=flow_run,
            registry=registry or beside,
            objects=objects or beside / "objects",
            out=out,
            backend=backend and backend.value,
            max_cost=checked_cost(max_cost),
            pay_lost_calls=pay_lost_calls,
        )
        return await run_trial(trial, as_json=as_json)

    finish(ran())
