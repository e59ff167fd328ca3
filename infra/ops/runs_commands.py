"""`worker-llm runs list` and `runs show`."""

from collections.abc import Sequence

from rich import box
from rich.console import Console, RenderableType
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
    id_column,
    level_style,
    print_json,
    print_line,
    status_text,
    terminal,
)
from shared.domain.steps import StepStatus


async def show_list(
    where: Where, *, limit: int, status: StepStatus | None, as_json: bool
) -> int:
    """Print the newest runs; 0 also if there are none."""
    async with connect(where) as connection:
        runs = await newest_runs(connection, limit=limit)
    chosen = [run for run in runs if status is None or _has_status(run, status)]
    if as_json:
        print_json({"runs": [run.summary_json() for run in chosen]})
    elif console := terminal():
        of_status = f" of status {status}" if status else ""
        nothing = Text(f"no runs{of_status} in {connection.name}", style="dim")
        console.print(runs_table(chosen, console) if chosen else nothing)
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


def runs_table(runs: Sequence[RunView], console: Console) -> Table:
    """The runs, one a line."""
    ids = id_column("run", (harmless(run.run_id) for run in runs), console)
    table = Table(ids, "status", "steps", box=box.SIMPLE_HEAD)
    table.add_column("tokens", justify="right")
    if priced := any(run.cost_usd is not None for run in runs):
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
            *([dollars(run.cost_usd)] if priced else ()),
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
