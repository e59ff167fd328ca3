"""`worker-llm runs list` and `runs show`."""

from collections.abc import Sequence

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from infra.ops.connection import connect
from infra.ops.options import Where
from infra.ops.run_reading import newest_runs, read_run
from infra.ops.run_view import RunView, StepView
from infra.ops.terminal import (
    age,
    count,
    dollars,
    harmless,
    level_style,
    print_json,
    print_line,
    status_text,
    terminal,
)


async def show_list(where: Where, *, limit: int, status: str | None, as_json: bool) -> int:
    """Print the newest runs; 0 also if there are none."""
    async with connect(where) as connection:
        runs = await newest_runs(connection, limit=limit)
    chosen = [run for run in runs if status is None or _has_status(run, status.upper())]
    if as_json:
        print_json({"runs": [run.summary_json() for run in chosen]})
    elif console := terminal():
        console.print(_table(chosen))
        if not chosen:
            console.print(f"no runs in {connection.name}", style="dim")
    else:
        for run in chosen:
            print_line(_run_fields(run))
    return 0


async def show_run(where: Where, run_id: str, *, as_json: bool) -> int:
    """Print one run."""
    async with connect(where) as connection:
        run = await read_run(connection, run_id)
    if as_json:
        print_json(run.as_json())
    elif console := terminal():
        console.print(run_tree(run))
    else:
        for step in run.steps:
            print_line(step_fields(step))
    return 0


def run_tree(run: RunView) -> RenderableType:
    """The run as a tree: each step below what it depends on last."""
    tree = Tree(_run_title(run), guide_style="dim")
    branches: dict[str, Tree] = {}
    for step in run.steps:
        # The steps come in the order of their dependencies.
        parents = [branches[name] for name in step.depends_on if name in branches]
        branch = (parents[-1] if parents else tree).add(_step_title(step))
        branches[step.step_id] = branch
        for line in _step_lines(step):
            branch.add(line)
    return tree


def step_fields(step: StepView) -> Sequence[object]:
    """A step as one line: id, status, attempt, age, tokens, code, reason, remedy, report."""
    return (
        step.step_id,
        step.status,
        step.job.attempt if step.job else None,
        step.age_seconds,
        step.tokens,
        step.error_code,
        step.finding.reason,
        step.finding.remedy,
        step.gcs_uri,
    )


def _has_status(run: RunView, status: str) -> bool:
    return run.status == status or status in run.counts


def _run_fields(run: RunView) -> Sequence[object]:
    steps = ",".join(f"{status}={n}" for status, n in run.counts.items())
    worst = run.worst
    created = run.summary_json()["createdAt"]
    return run.run_id, run.status, created, steps, run.tokens, worst and worst.reason


def _table(runs: Sequence[RunView]) -> Table:
    table = Table("run", "status", "steps", box=box.SIMPLE_HEAD)
    table.add_column("tokens", justify="right")
    table.add_column("cost", justify="right")
    table.add_column("to look at", ratio=1)
    for run in runs:
        worst = run.worst
        remark = Text(worst.reason, style=level_style(worst.level)) if worst else Text("")
        steps = Text(" ").join(
            status_text(status).append(f" {n}") for status, n in run.counts.items()
        )
        table.add_row(
            Text(harmless(run.run_id)),
            status_text(run.status),
            steps,
            count(run.tokens),
            dollars(run.cost_usd),
            remark,
        )
    return table


def _run_title(run: RunView) -> Text:
    facts = [run.flow_key or "", run.symbol or "", f"{count(run.tokens)} tokens"]
    facts.append(dollars(run.cost_usd))
    title = (
        Text(harmless(run.run_id), style="bold").append("  ").append(status_text(run.status))
    )
    title.append(harmless("  " + "  ".join(fact for fact in facts if fact)), style="dim")
    if run.error_code:
        title.append(harmless(f"\n{run.error_code}: {run.error_message}"), style="red")
    return title


def _step_title(step: StepView) -> Text:
    facts = [
        step.step_type if not step.ours else "",
        step.timeframe or "",
        age(step.age_seconds),
        f"{count(step.tokens)} tokens" if step.tokens else "",
        dollars(step.cost_usd),
        f"attempt {step.job.attempt}" if step.job and step.job.attempt > 1 else "",
        "reused" if step.reused else "",
    ]
    title = Text(harmless(step.step_id)).append("  ").append(status_text(step.status))
    return title.append(harmless("  " + "  ".join(f for f in facts if f)), style="dim")


def _step_lines(step: StepView) -> Sequence[Text]:
    finding = step.finding
    lines = []
    if step.error_code:
        lines.append(Text(harmless(f"{step.error_code}: {step.error_message}"), style="red"))
    if finding.reason and step.ours:
        lines.append(Text(finding.reason, style=level_style(finding.level)))
    if finding.remedy:
        lines.append(Text(f"→ {finding.remedy}", style="bold"))
    if step.gcs_uri and step.ours:
        lines.append(Text(harmless(step.gcs_uri), style="dim"))
    return lines
