"""`worker-llm report`."""

# What a command needs is imported when it runs.
# ruff: noqa: PLC0415

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from infra.ops.cli.options import AsJson, Where, for_environment
from infra.ops.steps.cli import RunId, StepId

ReportName = Annotated[str, typer.Argument(help="RUN/STEP, or gs://BUCKET/NAME.")]


class ReportFormat(StrEnum):
    """In which form a report is written to a file."""

    JSON = "json"
    MARKDOWN = "md"
    HTML = "html"


app = typer.Typer(
    help="Read, compare and export reports, and verify what they were made from.",
    no_args_is_help=True,
)


@app.command(
    epilog="Examples: `worker-llm report show RUN llm_report_1d` · "
    "`worker-llm report show RUN llm_report_1d > report.md`",
)
@for_environment
def show(where: Where, run_id: RunId, step_id: StepId, *, as_json: AsJson = False) -> None:
    """Show a step's report, its summary and its details: rendered, in a pipe as Markdown.

    With --json the artifact as it is stored.

    Ends with 3 if there is no such run or step, or it has no report.
    """
    from infra.ops.cli.running import finish
    from infra.ops.reports.commands import show_report

    finish(show_report(where, run_id, step_id, as_json=as_json))


@app.command(
    epilog="Examples: `worker-llm report export RUN/llm_report_1d --format html` · "
    "`worker-llm report export gs://bucket/RUN/1d/llm_report_1d.json --format md --out r.md`",
)
@for_environment
def export(
    where: Where,
    report: ReportName,
    *,
    form: Annotated[
        ReportFormat, typer.Option("--format", help="JSON as stored, Markdown, or one page.")
    ] = ReportFormat.HTML,
    out: Annotated[
        Path | None, typer.Option(help="A file that is not there yet. Default: STEP.FORMAT.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a report to a file: JSON, Markdown, or one HTML file that fetches nothing.

    Ends with 3 if there is no such report, with 1 if the file is there already.
    """
    from infra.ops.cli.running import finish
    from infra.ops.reports.commands import export_report

    stem = report.removesuffix(".json").rpartition("/")[2].replace(":", "_") or "report"
    target = out or Path(f"{stem}.{form}")
    finish(export_report(where, report, form, target, as_json=as_json))


@app.command(
    epilog="Example: `worker-llm report compare RUN_A/llm_report_1d RUN_B/llm_report_1d`",
)
@for_environment
def compare(
    where: Where,
    first: ReportName,
    second: ReportName,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Also the fields that are the same.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare two reports field by field, numbers with their difference.

    Ends with 0 if their details are the same, with 1 if not, with 3 if one is not there.
    """
    from infra.ops.cli.running import finish
    from infra.ops.reports.commands import compare_reports

    work = compare_reports(where, first, second, everything=everything, as_json=as_json)
    finish(work)


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
    from infra.ops.cli.running import finish
    from infra.ops.reports.commands import verify as work

    finish(work(where, uri, as_json=as_json))
