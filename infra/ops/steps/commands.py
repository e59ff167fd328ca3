"""`worker-llm steps show`."""

from collections.abc import Iterable, Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from infra.ops.cli.options import Where
from infra.ops.cli.terminal import (
    age,
    count,
    dollars,
    harmless,
    print_json,
    print_line,
    status_text,
    terminal,
)
from infra.ops.environment.connection import Connection, connect
from infra.ops.runs.diagnosis import level_style
from infra.ops.runs.job_view import ActView, AttemptView, CallView, ClaimView, time_json
from infra.ops.runs.reading import NotFound, read_run
from infra.ops.runs.view import StepView

_ACT = ("operator", "who", "did", "because")
_CLAIM = ("former claim", "claimed", "ended", "attempts", "calls", "cost")
_ATTEMPT = ("attempt", "began", "took", "model calls", "ended with")


async def show_step(where: Where, run_id: str, step_id: str, *, as_json: bool) -> int:
    """Print one step."""
    async with connect(where) as connection:
        step = await read_step(connection, run_id, step_id)
    if as_json:
        print_json({"runId": run_id, **step.as_json()})
    elif console := terminal():
        console.print(_card(step))
    else:
        for line in _lines(step):
            print_line(line)
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
    lease = job and job.lease_owner and f"until {time_json(job.lease_expires_at)}"
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
        "took" if step.ended else "age": age(step.age_seconds),
        "model": step.model,
        "tokens": count(step.tokens),
        "cost": dollars(step.cost_usd),
        "job": job and job.state,
        "claim": job and str(job.claim_number),
        "acknowledged": "yes" if job and job.acknowledged else None,
        "attempts": job and str(job.attempt),
        "model calls": job and str(job.llm_calls),
        "lease": lease,
        "not before": job and time_json(job.not_before),
        "sweep looks at": job and not step.ended and time_json(job.wake_at),
        "report": step.gcs_uri and step.gcs_uri + (" (reused)" if step.reused else ""),
    }
    yield from ((name, value) for name, value in facts.items() if value)


def _lines(step: StepView) -> Iterator[Sequence[str]]:
    """The same for a pipe: the facts, then a line for each act and each attempt."""
    yield from _facts(step)
    if step.job:
        yield from (("operator", *_act_cells(act)) for act in step.job.acts)
        yield from (("claim", *_claim_cells(claim)) for claim in step.job.former_claims)
        yield from (("attempt", *_attempt_cells(attempt)) for attempt in step.job.attempts)


def _card(step: StepView) -> RenderableType:
    grid = Table.grid(Column(style="dim"), Column(overflow="fold"), padding=(0, 2))
    for name, value in _facts(step):
        grid.add_row(name, _value(name, value, step))
    parts: list[RenderableType] = [Text(harmless(step.step_id), style="bold"), grid]
    if step.job and step.job.acts:
        parts.append(_table(_ACT, map(_act_cells, step.job.acts)))
    if step.job and step.job.former_claims:
        parts.append(_table(_CLAIM, map(_claim_cells, step.job.former_claims)))
    if step.job and step.job.attempts:
        parts.append(_table(_ATTEMPT, map(_attempt_cells, step.job.attempts)))
    return Group(*parts)


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


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(*(Column(name, overflow="fold") for name in head), box=None)
    for row in rows:
        table.add_row(*(Text(harmless(cell)) for cell in row))
    return table


def _act_cells(act: ActView) -> Sequence[str]:
    return time_json(act.at) or "", act.by or "", act.act, act.reason


def _claim_cells(claim: ClaimView) -> Sequence[str]:
    """A former claim: its number, when, how it ended, its attempts, calls and cost."""
    ended = " ".join(filter(None, [claim.state, claim.code]))
    numbers = (str(len(claim.attempts)), str(claim.llm_calls), dollars(claim.cost_usd))
    return str(claim.number), time_json(claim.claimed_at) or "", ended, *numbers


def _attempt_cells(attempt: AttemptView) -> Sequence[str]:
    calls = ", ".join(map(_call_words, attempt.calls))
    ending = attempt.code or ("success" if attempt.ended_at else "no end recorded")
    began = time_json(attempt.started_at) or ""
    return str(attempt.number), began, _seconds(attempt), calls, ending


def _call_words(call: CallView) -> str:
    """A call: what for, how it ended, and what it took."""
    facts = [call.purpose, call.code or call.finish_reason or "open", call.model or ""]
    facts.append(call.tier_words)
    facts.append("" if call.seconds is None else f"{call.seconds:.1f} s")
    facts.append("" if call.tokens is None else f"{count(call.tokens)} tokens")
    facts.append(dollars(call.cost_usd))
    return " ".join(fact for fact in facts if fact)


def _seconds(attempt: AttemptView) -> str:
    if attempt.started_at is None or attempt.ended_at is None:
        return ""
    return f"{(attempt.ended_at - attempt.started_at).total_seconds():.1f} s"
