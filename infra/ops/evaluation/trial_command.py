"""`worker-llm run`: a prompt author's try, with the real model and no cloud."""

from collections.abc import Mapping
from typing import Any

import typer

from infra.ops.cli.terminal import count, dollars, harmless, print_json
from infra.ops.environment.stored_documents import text_at
from infra.ops.evaluation.trial import StepEnd, Trial, Tried, step_of, tried
from infra.ops.runs.view import run_view
from shared.adapters.clock import SystemClock
from shared.domain.steps import StepStatus


async def run_trial(trial: Trial, *, as_json: bool) -> int:
    """Execute the READY steps, and print what became of each; 0 if all of them succeeded.

    Raises:
        CannotBeDone: see `tried`.
        OSError: see `tried`.
    """
    came = await tried(trial)
    if not came.paid:
        typer.echo("no GEMINI_API_KEY: a stand-in answered in the model's place", err=True)
    if not came.ends:
        typer.echo("the flow run has no READY LLM_REPORT step", err=True)
    if as_json:
        print_json({"steps": [_end(came, each) for each in came.ends]})
    else:
        for each in came.ends:
            typer.echo(harmless(_line(came, each)))
    failed = any(_status(came, each) != StepStatus.SUCCEEDED for each in came.ends)
    return int(failed or not came.ends)


def _line(came: Tried, end: StepEnd) -> str:
    status = _status(came, end)
    if end.answer is None:
        view = run_view(came.run_id, came.run, {}, SystemClock().now()).step(end.step_id)
        return f"{end.step_id}: {status} {view.finding.reason if view else ''}"
    if end.report is None:
        return (
            f"{end.step_id}: {status} {end.answer.error_code} {end.answer.error_message or ''}"
        )
    return f"{end.step_id}: {status} {end.report}{_took(end)}"


def _took(end: StepEnd) -> str:
    """What the report took; nothing where nothing was asked."""
    if end.answer is None:
        return ""
    if end.reused:
        return " (answered before from the same inputs: nothing was asked)"
    answer = end.answer
    tokens = (answer.tokens_in or 0) + (answer.tokens_out or 0)
    parts = [
        f"{count(tokens)} tokens",
        dollars(answer.cost_usd) or "no price",
        f"{(answer.latency_ms or 0) / 1000:.1f} s",
        "repaired" if answer.repaired else "",
    ]
    return f" ({', '.join(part for part in parts if part)})"


def _end(came: Tried, end: StepEnd) -> Mapping[str, Any]:
    """What became of a step, as --json prints it."""
    answer = end.answer
    return {
        "stepId": end.step_id,
        "status": _status(came, end),
        "report": end.report and str(end.report),
        "error": step_of(came.run, end.step_id).get("error"),
        "reused": end.reused,
        "repaired": bool(answer and answer.repaired),
        "calls": answer.calls if answer else 0,
        "tokensIn": answer and answer.tokens_in,
        "tokensOut": answer and answer.tokens_out,
        "costUsd": answer and answer.cost_usd,
        "latencyMs": answer and answer.latency_ms,
    }


def _status(came: Tried, end: StepEnd) -> str:
    return text_at(step_of(came.run, end.step_id), "status") or ""
