"""`worker-llm report`."""

# What a command needs is imported when it runs.
# ruff: noqa: PLC0415

import typer

from infra.ops.options import AsJson, Where, for_environment
from infra.ops.steps_cli import RunId, StepId

app = typer.Typer(help="Read reports.", no_args_is_help=True)


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
