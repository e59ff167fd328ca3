"""`worker-llm doctor`."""

import asyncio
import os
from collections.abc import Iterator, Sequence

import requests
import typer
from rich.text import Text

from executor.settings import Backend, ExecutorSettings
from infra.local.state_file import EnvironmentState
from infra.ops.connection import Connection, connect
from infra.ops.doctor_cloud import observe_project
from infra.ops.doctor_facts import EXECUTOR, Finding, Level, Observed
from infra.ops.doctor_local import observe_local, stand_in_findings
from infra.ops.doctor_models import ask_for_models, executor_settings, model_findings
from infra.ops.doctor_registry import read_waiting, registry_findings
from infra.ops.doctor_rest import Rest, authorized_session
from infra.ops.doctor_rules import findings
from infra.ops.options import Where
from infra.ops.terminal import harmless, print_json, print_line, terminal
from shared.adapters.clock import SystemClock
from shared.ports import StoreUnavailable

_STYLES = {Level.PROBLEM: "bold red", Level.WARNING: "yellow"}


async def show_doctor(where: Where, *, as_json: bool) -> int:
    """Print what is not as it should be; 1 if there is a problem among it."""
    async with connect(where) as connection:
        found = await examine(connection)
    if as_json:
        print_json({"environment": connection.name, "findings": [f.as_json() for f in found]})
    elif console := terminal():
        for finding in found:
            console.print(_text(finding))
    else:
        for finding in found:
            print_line([finding.level, finding.subject, finding.problem, finding.remedy])
    typer.echo(_summary(connection.name, found), err=True)
    return int(any(finding.level is Level.PROBLEM for finding in found))


async def examine(connection: Connection) -> Sequence[Finding]:
    """Everything in the environment that is not as it should be. Nothing is written."""
    local = connection.local
    if local is not None:
        observed = await asyncio.to_thread(observe_local, local)
        found = [*findings(observed), *await asyncio.to_thread(stand_in_findings, local)]
    else:
        rest = Rest(authorized_session())
        observed = await asyncio.to_thread(
            observe_project, rest, connection.project, connection.database
        )
        found = [*findings(observed)]
    settings = executor_settings(observed)
    if isinstance(settings, ExecutorSettings):
        found += await _of_models(settings, local)
        found += await _of_steps(connection, settings)
    else:
        found += _of_settings(observed, settings)
    return found


def _of_settings(observed: Observed, problems: Sequence[str]) -> Iterator[Finding]:
    for problem in problems:
        yield Finding(subject=EXECUTOR, problem=problem, remedy=observed.apply)


async def _of_models(
    settings: ExecutorSettings, local: EnvironmentState | None
) -> Sequence[Finding]:
    session = None if local else _model_session(settings)
    models = await asyncio.to_thread(ask_for_models, Rest(session), settings) if session else {}
    return list(model_findings(settings, models, SystemClock().now().date()))


def _model_session(settings: ExecutorSettings) -> requests.Session | None:
    """A session that may ask for models; None where the key is not at hand."""
    if settings.gemini.backend is Backend.VERTEX:
        return authorized_session()
    key = os.environ.get("GEMINI_API_KEY")
    if not key:
        typer.echo("models: not asked for; set GEMINI_API_KEY to have it done", err=True)
        return None
    session = requests.Session()
    session.headers["x-goog-api-key"] = key
    return session


async def _of_steps(connection: Connection, settings: ExecutorSettings) -> Sequence[Finding]:
    try:
        steps, registry = await read_waiting(connection)
    except StoreUnavailable as problem:
        reason = f"waiting steps could not be read: {problem}"
        return [
            Finding(
                subject="Firestore",
                problem=reason,
                remedy="see the findings above, and https://status.cloud.google.com",
            )
        ]
    return registry_findings(steps, registry, settings, SystemClock().now().date())


def _text(finding: Finding) -> Text:
    return Text.assemble(
        (f"{finding.level}  ", _STYLES[finding.level]),
        (harmless(finding.subject), "bold"),
        f": {harmless(finding.problem)}\n    {harmless(finding.remedy)}",
    )


def _summary(name: str, found: Sequence[Finding]) -> str:
    problems = sum(finding.level is Level.PROBLEM for finding in found)
    if not found:
        return f"{name}: all is as it should be"
    return f"{name}: {problems} problems, {len(found) - problems} warnings"
