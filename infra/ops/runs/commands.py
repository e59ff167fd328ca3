"""`worker-llm runs list` and `runs show`."""

from collections.abc import Sequence

from rich import box
from rich.console import Console, RenderableType
from rich.table import Column, Table
from rich.text import Text
from rich.tree import Tree

from infra.ops.cli.options import Where
from infra.ops.cli.terminal import (
    age,
    count,
    dollars,
    harmless,
    id_column,
    print_json,
    print_line,
    say,
    status_text,
    terminal,
)
from infra.ops.environment.connection import connect
from infra.ops.runs.attention import Attention, AttentionCause, what_needs_attention
from infra.ops.runs.diagnosis import level_style
from infra.ops.runs.finding import RunFilter, RunPage, find_runs
from infra.ops.runs.job_view import time_json
from infra.ops.runs.reading import read_run
from infra.ops.runs.view import RunView, StepView

#: Runs on a page when all are wanted, and steps of one cause that a terminal shows.
_AT_ONCE, _SHOWN_OF_A_CAUSE = 200, 10
_STATUS_CHARS, _WIDE = 12, 80


async def show_list(
    where: Where, wanted: RunFilter, *, pages: tuple[int, str | None, bool], as_json: bool
) -> int:
    """Print a page of runs, or all; 0 also if there are none."""
    limit, cursor, everything = pages
    async with connect(where) as connection:
        page = await find_runs(connection, wanted, limit=limit, cursor=cursor)
        while everything and page.next is not None:
            further = await find_runs(connection, wanted, limit=_AT_ONCE, cursor=page.next)
            page = page.with_further(further)
        console = None if as_json else terminal()
        attention = await what_needs_attention(connection) if console else None
    if as_json:
        print_json(page.as_json())
    elif console and attention:
        console.print(_headline(attention))
        nothing = Text(f"no such runs in {connection.name}", style="dim")
        console.print(runs_table(page.runs, console) if page.runs else nothing)
    else:
        for run in page.runs:
            print_line(_run_fields(run))
    if page.next is not None:
        say(_how_to_go_on(page), err=True)
    return 0


async def show_attention(where: Where, *, as_json: bool) -> int:
    """Print what needs attention, by cause."""
    async with connect(where) as connection:
        attention = await what_needs_attention(connection)
    if as_json:
        print_json(attention.as_json())
    elif console := terminal():
        console.print(_headline(attention))
        for cause in attention.causes:
            console.print(_cause(cause))
    else:
        for cause in attention.causes:
            for item in cause.items:
                step_id = item.step and item.step.step_id
                print_line((item.run.run_id, step_id, cause.code, item.message))
    if not as_json and attention.cut:
        say(attention.headline, err=True)
    return 0


def _headline(attention: Attention) -> Text:
    style = "green" if attention.all_clear else "bold red"
    known = f" ({attention.acknowledged} acknowledged)" if attention.acknowledged else ""
    return Text(f"{attention.headline}{known}", style=style)


def _cause(cause: AttentionCause) -> RenderableType:
    number = len(cause.items)
    head = f"{number} step{'' if number == 1 else 's'}: {cause.code} {cause.message}"
    tree = Tree(Text(harmless(head), style=level_style(cause.finding.level)))
    for item in cause.items[:_SHOWN_OF_A_CAUSE]:
        step_id = item.step.step_id if item.step else ""
        tree.add(Text(harmless(f"{item.run.run_id}  {step_id}")))
    if number > _SHOWN_OF_A_CAUSE:
        tree.add(Text(f"and {number - _SHOWN_OF_A_CAUSE} more: --json has all", style="dim"))
    if cause.finding.remedy:
        tree.add(Text(f"→ {cause.finding.remedy}", style="bold"))
    return tree


def _how_to_go_on(page: RunPage) -> str:
    back = f", back to {time_json(page.back_to)}" if page.back_to else ""
    return (
        f"{len(page.runs)} runs of the newest {page.looked_at} looked at{back}; "
        f"older ones: --after {page.next}, or --all"
    )


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


def _run_fields(run: RunView) -> Sequence[object]:
    steps = ",".join(f"{status}={n}" for status, n in run.counts.items())
    worst = run.worst
    created = run.summary_json()["createdAt"]
    return run.run_id, run.status, created, steps, run.tokens, worst and worst.reason


def runs_table(runs: Sequence[RunView], console: Console) -> Table:
    """The runs, one a line; a narrow terminal shows which they are and what is to be said."""
    ids = id_column("run", (harmless(run.run_id) for run in runs), console)
    # The status is the last thing to be cut.
    longest = max((len(run.status) for run in runs), default=0)
    status = Column("status", no_wrap=True, min_width=min(longest, _STATUS_CHARS))
    is_wide = console.width >= _WIDE
    priced = is_wide and any(run.cost_usd is not None for run in runs)
    columns = [ids, status]
    columns += [Column("steps"), Column("tokens", justify="right")] if is_wide else []
    columns += [Column("cost", justify="right")] if priced else []
    table = Table(*columns, Column("to look at", ratio=1), box=box.SIMPLE_HEAD)
    for run in runs:
        worst = run.worst
        remark = Text(worst.reason, style=level_style(worst.level)) if worst else Text("")
        table.add_row(
            Text(harmless(run.run_id)),
            status_text(run.status),
            *([_counts(run), Text(count(run.tokens))] if is_wide else ()),
            *([dollars(run.cost_usd)] if priced else ()),
            remark,
        )
    return table


def _counts(run: RunView) -> Text:
    parts = (status_text(status).append(f" {n}") for status, n in run.counts.items())
    return Text(" ").join(parts)


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
