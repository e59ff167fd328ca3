"""`worker-llm report show`, `report export`, `report compare` and `report verify`."""

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.console import Group, RenderableType
from rich.markdown import Markdown
from rich.table import Column, Table
from rich.text import Text

from infra.ops.cli.options import Where
from infra.ops.cli.terminal import harmless, print_json, print_line, say, terminal
from infra.ops.environment.connection import connect
from infra.ops.reports.cli import ReportFormat
from infra.ops.reports.comparison import FieldPair, compared
from infra.ops.reports.details import Block, Bullets, Cell, Facts
from infra.ops.reports.reading import read_report, report_named
from infra.ops.reports.sheet import ReportSheet, html_file, read_sheet
from infra.ops.reports.text import report_markdown
from infra.ops.reports.verification import Verification, verify_report
from infra.ops.steps.commands import read_step

_DIFFERENT = 1


async def show_report(where: Where, run_id: str, step_id: str, *, as_json: bool) -> int:
    """Print the step's report, all of it."""
    async with connect(where) as connection:
        step = await read_step(connection, run_id, step_id)
        report = await read_report(connection, step)
        sheet = await read_sheet(connection, report)
    if as_json:
        print_json(report.document)
    elif console := terminal():
        console.print(Markdown(harmless(report.markdown), hyperlinks=False))
        console.print(_details(sheet))
    else:
        text = report_markdown(report.markdown, report.details, sheet.output_schema)
        say(harmless(text).rstrip("\n"))
    return 0


async def export_report(
    where: Where, name: str, form: ReportFormat, out: Path, *, as_json: bool
) -> int:
    """Write the report to a file, which must not be there yet."""
    async with connect(where) as connection:
        report = await report_named(connection, name)
        data = report.data
        if form is not ReportFormat.JSON:
            sheet = await read_sheet(connection, report)
            is_html = form is ReportFormat.HTML
            text = await html_file(connection, sheet) if is_html else sheet.markdown
            data = text.encode("utf-8", "replace")
    with out.open("xb") as file:
        file.write(data)
    if as_json:
        print_json({"path": str(out), "bytes": len(data), "report": report.uri})
    else:
        say(f"{out}: {len(data)} bytes, of {harmless(report.uri)}")
    return 0


async def compare_reports(
    where: Where, first: str, second: str, *, everything: bool, as_json: bool
) -> int:
    """Print the fields of two reports side by side; 1 if any differs."""
    async with connect(where) as connection:
        before = await report_named(connection, first)
        after = await report_named(connection, second)
    fields = compared(before.details, after.details)
    shown = fields if everything else [field for field in fields if field.changed]
    if as_json:
        rows = [field.as_json() for field in shown]
        print_json({"a": before.uri, "b": after.uri, "fields": rows})
    elif console := terminal():
        console.print(_comparison(shown) if shown else Text("no field differs", style="dim"))
    else:
        for field in shown:
            cells = (field.before and field.before.text, field.after and field.after.text)
            print_line((field.path, *cells, field.difference))
    return _DIFFERENT if any(field.changed for field in fields) else 0


def _details(sheet: ReportSheet) -> RenderableType:
    parts: list[RenderableType] = []
    for block in sheet.blocks:
        if block.title:
            parts.append(Text(f"\n{harmless(block.title)}", style="bold"))
        parts.append(_block(block))
    return Group(*parts)


def _block(block: Block) -> RenderableType:
    if isinstance(block, Bullets):
        return Group(*(Text(f"• {harmless(item.text)}") for item in block.items))
    if isinstance(block, Facts):
        table = Table.grid(Column(style="dim"), Column(overflow="fold"), padding=(0, 2))
        for name, cell in block.rows:
            table.add_row(Text(harmless(name)), _text(cell))
        return table
    columns = [
        Column(
            Text(harmless(name)),
            justify="right" if is_number else "left",
            no_wrap=is_number,
            overflow="fold",
        )
        for name, is_number in zip(block.columns, block.numeric, strict=True)
    ]
    table = Table(*columns, box=box.SIMPLE_HEAD)
    for row in block.rows:
        table.add_row(*(_text(cell) for cell in row))
    return table


def _comparison(fields: Sequence[FieldPair]) -> Table:
    table = Table(
        Column("field", overflow="fold"),
        Column("first", overflow="fold"),
        Column("second", overflow="fold"),
        Column("difference", justify="right", no_wrap=True),
        box=box.SIMPLE_HEAD,
    )
    for field in fields:
        cells = (_text(cell) if cell else Text("") for cell in (field.before, field.after))
        table.add_row(Text(harmless(field.path)), *cells, Text(field.difference or ""))
    return table


def _text(cell: Cell) -> Text:
    return Text(harmless(cell.text), no_wrap=cell.is_number)


async def verify(where: Where, uri: str, *, as_json: bool) -> int:
    """Say which input of a report changed since; 0 if none did."""
    async with connect(where) as connection:
        found = await verify_report(connection, uri)
    if as_json:
        print_json(_as_json(found))
    else:
        for each in found.inputs:
            print_line([each.standing, each.name, each.place])
        say(found.verdict, err=True)
    return 0 if found.verified else 1


def _as_json(found: Verification) -> dict[str, object]:
    return {
        "uri": found.uri,
        "verified": found.verified,
        "inputDigest": found.digest,
        "recomputedDigest": found.recomputed,
        "inputs": [
            {"name": each.name, "place": each.place, "standing": str(each.standing)}
            for each in found.inputs
        ],
    }
