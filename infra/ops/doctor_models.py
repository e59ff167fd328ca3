"""The executor's settings as it would read them, and whether its models are there."""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import TypeAlias

from executor.models import check_model
from executor.settings import Backend, ExecutorSettings, read_settings
from infra.ops.doctor_facts import EXECUTOR, Finding, Level, Observed
from infra.ops.doctor_rest import Rest
from shared.domain.errors import LlmProfileInvalid
from shared.settings import SettingsInvalid

_MAX_MODELS = 20
#: Model -> what is wrong with it; empty for one that is there.
Models: TypeAlias = Mapping[str, str]


def executor_settings(observed: Observed) -> ExecutorSettings | tuple[str, ...]:
    """What the executor reads from its environment, or what it finds wrong there."""
    executor = observed.functions.get(EXECUTOR)
    if executor is None:
        return ()
    # Any text stands for the key: the doctor never reads it.
    key = {"GEMINI_API_KEY": "set"} if executor.key else {}
    try:
        return read_settings({**executor.environ, **key})
    except SettingsInvalid as problem:
        return problem.problems


def ask_for_models(rest: Rest, settings: ExecutorSettings) -> Models:
    """Ask the provider for each model of the allowlist."""
    names = list(settings.gemini.allowed_models)[:_MAX_MODELS]
    return {name: _ask(rest, settings, name) for name in names}


def _ask(rest: Rest, settings: ExecutorSettings, name: str) -> str:
    service, path = "generativelanguage", f"v1/models/{name}"
    if settings.gemini.backend is Backend.VERTEX:
        location = settings.gemini.location
        service = "aiplatform" if location == "global" else f"{location}-aiplatform"
        path = f"v1/publishers/google/models/{name}"
    if rest.get(name, service, path) is not None:
        return ""
    reason = rest.unreadable.get(name, "it has no such model")
    return f"the provider does not offer it: {reason}"


def model_findings(
    settings: ExecutorSettings, models: Models, today: date
) -> Iterator[Finding]:
    """Models that are not there, and those whose days are counted."""
    for name, problem in models.items():
        if problem:
            yield Finding(
                subject=name,
                problem=problem,
                remedy="allow another one; if all fail: docs/how-to/rotate-the-key.md",
            )
    for name in settings.gemini.allowed_models:
        yield from _retirement(name, settings, today)


def _retirement(name: str, settings: ExecutorSettings, today: date) -> Iterator[Finding]:
    remedy = "docs/how-to/runbooks/models-retiring.md"
    try:
        last_day = check_model(name, settings.gemini.allowed_models, today)
    except LlmProfileInvalid as retired:
        yield Finding(subject=name, problem=retired.message, remedy=remedy, level=Level.WARNING)
        return
    if last_day is not None:
        yield Finding(
            subject=name,
            problem=f"its last day of use is {last_day}",
            remedy=remedy,
            level=Level.WARNING,
        )
