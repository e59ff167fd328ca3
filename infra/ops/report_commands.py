"""`worker-llm report show`."""

import typer
from rich.markdown import Markdown

from infra.ops.connection import connect
from infra.ops.options import Where
from infra.ops.report_reading import read_report
from infra.ops.steps_commands import read_step
from infra.ops.terminal import harmless, print_json, terminal


async def show_report(where: Where, run_id: str, step_id: str, *, as_json: bool) -> int:
    """Print the step's report."""
    async with connect(where) as connection:
        step = await read_step(connection, run_id, step_id)
        report = await read_report(connection, step)
    text = harmless(report.markdown)
    if as_json:
        print_json(report.document)
    elif console := terminal():
        console.print(Markdown(text, hyperlinks=False))
    else:
        typer.echo(text)
    return 0
