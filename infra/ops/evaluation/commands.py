"""`worker-llm eval`: forecast, question, progress, verdicts."""

import sys
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table

from infra.ops.cli.terminal import dollars, harmless, print_json, print_line, terminal
from infra.ops.evaluation.cost_forecast import CostForecast
from infra.ops.evaluation.evaluating import Ended, Evaluation, Prepared, prepared
from infra.ops.evaluation.findings.document import results_bytes
from infra.ops.evaluation.findings.results import Results
from infra.ops.evaluation.page.rendering import evaluation_page
from infra.ops.evaluation.page.words import (
    difference_text,
    finding_text,
    interval_text,
    judge_lines,
    value_text,
)

_FAILED = 1
_NAME_CHARS = 12
_SHOWN = 10


async def evaluate(evaluation: Evaluation, *, yes: bool, as_json: bool) -> int:
    """Evaluate, and write what came of it; 1 if a stated loss was found, or nobody said yes."""
    async with prepared(evaluation) as ready:
        _say_forecast(ready.forecast)
        if not _may_pay(ready.forecast, yes=yes):
            return _FAILED
        ended = await _asked(ready)
    results = ended.results
    data, digest = results_bytes(results)
    places = _written(evaluation.out, data, digest, results)
    if as_json:
        print_json(_summary(ended, digest, places))
    else:
        _print_verdicts(results)
    _say_end(ended, places, digest)
    return _FAILED if results.failed else 0


async def _asked(ready: Prepared) -> Ended:
    """Ask with a bar on standard error, which leaves standard output to the results."""
    with Progress(console=Console(stderr=True), transient=True) as bar:
        total = ready.forecast.calls + ready.forecast.judge_calls
        task = bar.add_task("cells", total=total)
        return await ready.ask(lambda: bar.advance(task))


def _say_forecast(forecast: CostForecast) -> None:
    for case_id, why in list(forecast.excluded.items())[:_SHOWN]:
        typer.echo(harmless(f"left out: {case_id}: {why}"), err=True)
    if len(forecast.excluded) > _SHOWN:
        typer.echo(f"left out: {len(forecast.excluded) - _SHOWN} more", err=True)
    cost = ""
    if forecast.likely_usd is not None:
        most = f", at most {dollars(forecast.most_usd)}" if forecast.most_usd else ""
        cost = f"; likely {dollars(forecast.likely_usd)}{most} without repairs"
    ceiling = f", never above ${forecast.max_cost}" if forecast.max_cost else ""
    reused = f" ({forecast.reused} were answered before)" if forecast.reused else ""
    judged = f" and at most {forecast.judge_calls} calls of the judge"
    typer.echo(
        f"{forecast.cases} cases, {forecast.calls} reports to ask for{reused}"
        f"{judged if forecast.judge_calls else ''}{cost}{ceiling}",
        err=True,
    )


def _may_pay(forecast: CostForecast, *, yes: bool) -> bool:
    if yes or not forecast.paid or not (forecast.calls + forecast.judge_calls):
        return True
    if not sys.stdin.isatty():
        typer.echo("nobody is there to ask: give --yes to pay for it", err=True)
        return False
    return typer.confirm("Ask the model now?", err=True)


def _written(out: Path, data: bytes, digest: str, results: Results) -> tuple[Path, Path]:
    """The JSON file and the page, named by the digest: no other result is overwritten."""
    name = f"evaluation-{digest[:_NAME_CHARS]}"
    document, page = out / f"{name}.json", out / f"{name}.html"
    document.write_bytes(data)
    page.write_text(evaluation_page(results, digest), encoding="utf-8")
    return document, page


def _print_verdicts(results: Results) -> None:
    rows = [
        [name, each.measure.name, *_cells]
        for name, found in results.verdicts.items()
        for each in found
        for _cells in [
            (
                finding_text(each),
                value_text(each.measure, each.baseline),
                value_text(each.measure, each.candidate),
                difference_text(each.measure, each.difference.mean),
                interval_text(each),
            )
        ]
    ]
    console = terminal()
    if console is None:
        for row in rows:
            print_line(row)
        return
    console.print(_table(rows, results.baseline.name))


def _table(rows: Sequence[Sequence[str]], baseline: str) -> Table:
    heads = ("candidate", "measure", "finding", baseline, "candidate's", "difference", "95 %")
    table = Table(*(Column(head, overflow="fold") for head in heads))
    for row in rows:
        table.add_row(*map(harmless, row))
    return table


def _say_end(ended: Ended, places: tuple[Path, Path], digest: str) -> None:
    results = ended.results
    if ended.ceiling_reached:
        typer.echo("the ceiling was reached: what is left was not asked", err=True)
    if results.unanswered:
        typer.echo(f"{len(results.unanswered)} cases lack an answer: see the page", err=True)
    for line in judge_lines(results):
        typer.echo(harmless(line), err=True)
    for name, conditions in results.met.items():
        for condition in conditions:
            typer.echo(f"{name}: the loss {condition.text} was found", err=True)
    for name, conditions in results.undecided.items():
        for condition in conditions:
            typer.echo(f"{name}: {condition.text} is not known", err=True)
    typer.echo(f"page: {places[1]}\nresults: {places[0]} (sha256 {digest})", err=True)


def _summary(ended: Ended, digest: str, places: tuple[Path, Path]) -> dict[str, object]:
    results = ended.results
    return {
        "digest": digest,
        "results": str(places[0]),
        "page": str(places[1]),
        "cases": len(results.cases),
        "excluded": dict(results.excluded),
        "unanswered": len(results.unanswered),
        "asked": ended.asked,
        "ceilingReached": ended.ceiling_reached,
        "failed": results.failed,
        "verdicts": [
            {
                "candidate": name,
                "measure": each.measure.name,
                "finding": str(each.finding),
                "baseline": each.baseline,
                "value": each.candidate,
                "difference": each.difference.mean,
                "low": each.difference.low,
                "high": each.difference.high,
                "cases": each.difference.cases,
                "neededCases": each.needed,
            }
            for name, found in results.verdicts.items()
            for each in found
        ],
    }
