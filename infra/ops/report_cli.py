"""`worker-llm report`."""

# What a command needs is imported when it runs.
# ruff: noqa: PLC0415

from typing import Annotated

import typer

from infra.ops.options import AsJson, Where, for_environment
from infra.ops.steps_cli import RunId, StepId

app = typer.Typer(
    help="Read reports, and verify what they were made from.", no_args_is_help=True
)


@app.command(
    epilog="Examples: `worker-llm report show RUN llm_report_1d` · "
    "`worker-llm report show RUN llm_report_1d > report.md`",
)
@for_environment
def show(where: Where, run_id: RunId, step_id: StepId, *, as_json: AsJson = False) -> None:
    """Show a step's report: rendered on a terminal, Markdown in a pipe, the artifact as JSON.

    Ends with 3 if there is no such run or step, or it has no report.
    """
    from infra.ops.report_commands import show_report
    from infra.ops.running import finish

    finish(show_report(where, run_id, step_id, as_json=as_json))


@app.command(
    epilog="Examples: `worker-llm report verify gs://bucket/RUN/1d/llm_report_1d.json --local`"
    " · `worker-llm report verify gs://… --project my-project --json`",
)
@for_environment
def verify(
    where: Where,
    uri: Annotated[str, typer.Argument(help="The report, gs://BUCKET/NAME.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Recompute a report's receipt from its sources, and say which input changed since.

    Covers prompt, schema, profile, candles, charts and previous reports. Ends with 0 if all are
    as they were, with 1 if not, with 3 if there is no report with a receipt.
    """
    from infra.ops.report_commands import verify as work
    from infra.ops.running import finish

    finish(work(where, uri, as_json=as_json))
