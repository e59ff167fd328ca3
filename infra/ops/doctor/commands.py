"""`worker-llm doctor`."""

import asyncio
import os
from collections.abc import Iterator, Sequence

import requests
from rich.text import Text

from executor.adapters.bounded_http import LongBodiesAdapter, bounded
from executor.settings import Backend, ExecutorSettings
from infra.local.state_file import EnvironmentState
from infra.ops.cli.options import Where
from infra.ops.cli.terminal import harmless, print_json, print_line, say, terminal
from infra.ops.doctor.cloud import observe_project
from infra.ops.doctor.facts import EXECUTOR, CheckLevel, CheckResult, Observed
from infra.ops.doctor.local import observe_local, stand_in_findings
from infra.ops.doctor.models import ask_for_models, executor_settings, model_findings
from infra.ops.doctor.quotas import quota_findings, read_paces, wait_findings
from infra.ops.doctor.registry import read_waiting, registry_findings
from infra.ops.doctor.rest import Rest, authorized_session
from infra.ops.doctor.rules import findings
from infra.ops.environment.connection import Connection, connect
from infra.ops.quota.reading import read_quotas
from shared.adapters.clock import SystemClock
from shared.ports import StoreUnavailable

_STYLES = {CheckLevel.PROBLEM: "bold red", CheckLevel.WARNING: "yellow"}


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
    say(_summary(connection.name, found), err=True)
    return int(any(finding.level is CheckLevel.PROBLEM for finding in found))


async def examine(connection: Connection) -> Sequence[CheckResult]:
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


def _of_settings(observed: Observed, problems: Sequence[str]) -> Iterator[CheckResult]:
    for problem in problems:
        yield CheckResult(subject=EXECUTOR, problem=problem, remedy=observed.apply)


async def _of_models(
    settings: ExecutorSettings, local: EnvironmentState | None
) -> Sequence[CheckResult]:
    session = None if local else _model_session(settings)
    models = await asyncio.to_thread(ask_for_models, Rest(session), settings) if session else {}
    return list(model_findings(settings, models, SystemClock().now().date()))


def _model_session(settings: ExecutorSettings) -> requests.Session | None:
    """A session that may ask for models; None where the key is not at hand."""
    if settings.gemini.backend is Backend.VERTEX:
        return authorized_session()
    key = os.environ.get("GEMINI_API_KEY")
    if not key:
        say("models: not asked for; set GEMINI_API_KEY to have it done", err=True)
        return None
    session = bounded(requests.Session(), LongBodiesAdapter())
    session.headers["x-goog-api-key"] = key
    return session


async def _of_steps(
    connection: Connection, settings: ExecutorSettings
) -> Sequence[CheckResult]:
    try:
        steps, registry = await read_waiting(connection, settings.collections)
        paces = await read_paces(connection, settings)
        quotas = await read_quotas(connection)
    except StoreUnavailable as problem:
        reason = f"waiting steps and learned limits could not be read: {problem}"
        return [
            CheckResult(
                subject="Firestore",
                problem=reason,
                remedy="see the findings above, and https://status.cloud.google.com",
            )
        ]
    now = SystemClock().now()
    return [
        *registry_findings(steps, registry, settings, now.date()),
        *quota_findings(paces, settings.gemini.limits, now),
        *wait_findings(quotas),
    ]


def _text(finding: CheckResult) -> Text:
    return Text.assemble(
        (f"{finding.level}  ", _STYLES[finding.level]),
        (harmless(finding.subject), "bold"),
        f": {harmless(finding.problem)}\n    {harmless(finding.remedy)}",
    )


def _summary(name: str, found: Sequence[CheckResult]) -> str:
    problems = sum(finding.level is CheckLevel.PROBLEM for finding in found)
    if not found:
        return f"{name}: all is as it should be"
    return f"{name}: {problems} problems, {len(found) - problems} warnings"
