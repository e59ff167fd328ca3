"""`worker-llm report show` and `worker-llm report verify`."""

import typer
from rich.markdown import Markdown

from infra.ops.connection import connect
from infra.ops.options import Where
from infra.ops.report_reading import read_report
from infra.ops.report_verification import Verification, verify_report
from infra.ops.steps_commands import read_step
from infra.ops.terminal import harmless, print_json, print_line, terminal


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


async def verify(where: Where, uri: str, *, as_json: bool) -> int:
    """Say which input of a report changed since; 0 if none did."""
    async with connect(where) as connection:
        found = await verify_report(connection, uri)
    if as_json:
        print_json(_as_json(found))
    else:
        for each in found.inputs:
            print_line([each.standing, each.name, each.place])
        typer.echo(_verdict(found), err=True)
    return 0 if found.verified else 1


def _verdict(found: Verification) -> str:
    if found.verified:
        return f"verified: {found.digest} is the digest of the inputs as they are now"
    if not found.changes:
        return f"not verified: no single input differs, and the digest is not {found.digest}"
    return (
        f"not verified: {len(found.changes)} of {len(found.inputs)} inputs are not as they were"
    )


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
