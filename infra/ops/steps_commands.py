"""`worker-llm steps show`."""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from infra.ops.connection import Connection, connect
from infra.ops.job_view import AttemptView, time_json
from infra.ops.options import Where
from infra.ops.run_reading import NotFound, read_run
from infra.ops.run_view import StepView
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


async def show_step(where: Where, run_id: str, step_id: str, *, as_json: bool) -> int:
    """Print one step."""
    async with connect(where) as connection:
        step = await read_step(connection, run_id, step_id)
    if as_json:
        print_json({"runId": run_id, **step.as_json()})
    elif console := terminal():
        console.print(_card(step))
    else:
        for name, value in _facts(step):
            print_line((name, value))
    return 0


async def read_step(connection: Connection, run_id: str, step_id: str) -> StepView:
    """One step of a run.

    Raises:
        NotFound: there is no such run or step.
        StoreUnavailable: Firestore did not answer.
    """
    run = await read_run(connection, run_id)
    step = run.step(step_id)
    if step is None:
        known = ", ".join(step.step_id for step in run.steps if step.ours)
        raise NotFound(f"run {run_id} has no step {step_id!r}; its report steps: {known}")
    return step


def _facts(step: StepView) -> Iterator[tuple[str, str]]:
    """What there is to say, the most urgent first."""
    job = step.job
    lease = job and job.lease_owner and f"{job.lease_owner} until {job.lease_expires_at}"
    facts = {
        "status": step.status,
        "error": step.error_code and f"{step.error_code}: {step.error_message}",
        "reason": step.finding.reason,
        "to do": step.finding.remedy,
        "type": step.step_type,
        "timeframe": step.timeframe,
        "depends on": ", ".join(step.depends_on),
        "started": time_json(step.started_at),
        "finished": time_json(step.finished_at),
        "age": age(step.age_seconds),
        "model": step.model,
        "tokens": count(step.tokens),
        "cost": dollars(step.cost_usd),
        "job": job and job.state,
        "attempts": job and str(job.attempt),
        "model calls": job and str(job.llm_calls),
        "lease": lease,
        "not before": job and time_json(job.not_before),
        "report": step.gcs_uri and step.gcs_uri + (" (reused)" if step.reused else ""),
    }
    yield from ((name, value) for name, value in facts.items() if value)


def _card(step: StepView) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column()
    for name, value in _facts(step):
        grid.add_row(name, _value(name, value, step))
    attempts = step.job.attempts if step.job else ()
    parts: list[RenderableType] = [Text(harmless(step.step_id), style="bold"), grid]
    return Group(*parts, _attempts(attempts)) if attempts else Group(*parts)


def _value(name: str, value: str, step: StepView) -> Text:
    match name:
        case "status":
            return status_text(value)
        case "error":
            return Text(harmless(value), style="red")
        case "reason":
            return Text(value, style=level_style(step.finding.level))
        case "to do":
            return Text(value, style="bold")
        case _:
            return Text(harmless(value))


def _attempts(attempts: Sequence[AttemptView]) -> Table:
    table = Table("attempt", "began", "took", "model calls", "ended with", box=None)
    for attempt in attempts:
        seconds = _seconds(attempt)
        calls = ", ".join(
            f"{call.purpose} {call.code or call.finish_reason or 'open'}"
            for call in attempt.calls
        )
        ending = attempt.code or ("success" if attempt.ended_at else "no end recorded")
        cells = (
            str(attempt.number),
            time_json(attempt.started_at) or "",
            seconds,
            calls,
            ending,
        )
        table.add_row(*(Text(harmless(cell)) for cell in cells))
    return table


def _seconds(attempt: AttemptView) -> str:
    if attempt.started_at is None or attempt.ended_at is None:
        return ""
    return f"{(attempt.ended_at - attempt.started_at).total_seconds():.1f} s"
