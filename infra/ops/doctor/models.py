"""The executor's settings as it would read them, and whether its models are there."""

from collections.abc import Iterator, Mapping
from datetime import date
from typing import TypeAlias

from executor.inputs.allowlist import check_model
from executor.settings import Backend, ExecutorSettings, read_settings
from infra.ops.doctor.facts import EXECUTOR, CheckLevel, CheckResult, Observed
from infra.ops.doctor.rest import Rest
from shared.domain.errors import LlmProfileInvalid
from shared.domain.hooks import MIN_SECRET_CHARS
from shared.settings import SettingsInvalid

_MAX_MODELS = 20
_MULTI_REGIONS = ("eu", "us")
#: Model -> what is wrong with it; empty for one that is there.
Models: TypeAlias = Mapping[str, str]


def executor_settings(observed: Observed) -> ExecutorSettings | tuple[str, ...]:
    """What the executor reads from its environment, or what it finds wrong there."""
    executor = observed.functions.get(EXECUTOR)
    if executor is None:
        return ()
    # Any text stands for a secret: the doctor never reads it.
    key = {"GEMINI_API_KEY": "set"} if executor.key else {}
    signed = executor.hook_secret is not None or observed.cloud is None
    hooks = {"WEBHOOK_SECRET": MIN_SECRET_CHARS * "s"} if signed else {}
    try:
        return read_settings({**executor.environ, **key, **hooks})
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
        service = _vertex_host(location)
        path = f"v1/publishers/google/models/{name}"
    if rest.ask(name, service, path) is not None:
        return ""
    refused = rest.unreadable.get(name)
    reason = refused.reason if refused else "it has no such model"
    return f"the provider does not offer it: {reason}"


def _vertex_host(location: str) -> str:
    """The first part of the host's name: regions, multi-regions and the world differ.

    https://cloud.google.com/vertex-ai/generative-ai/docs/learn/locations
    """
    if location == "global":
        return "aiplatform"
    if location in _MULTI_REGIONS:
        return f"aiplatform.{location}.rep"
    return f"{location}-aiplatform"


def model_findings(
    settings: ExecutorSettings, models: Models, today: date
) -> Iterator[CheckResult]:
    """Models that are not there, and models that have a last day of use."""
    for name, problem in models.items():
        if problem:
            yield CheckResult(
                subject=name,
                problem=problem,
                remedy="allow another one; if all fail: docs/how-to/rotate-the-key.md",
            )
    for name in settings.gemini.allowed_models:
        yield from _retirement(name, settings, today)


def _retirement(name: str, settings: ExecutorSettings, today: date) -> Iterator[CheckResult]:
    remedy = "docs/how-to/runbooks/models-retiring.md"
    try:
        last_day = check_model(name, settings.gemini.allowed_models, today)
    except LlmProfileInvalid as retired:
        yield CheckResult(
            subject=name, problem=retired.message, remedy=remedy, level=CheckLevel.WARNING
        )
        return
    if last_day is not None:
        yield CheckResult(
            subject=name,
            problem=f"its last day of use is {last_day}",
            remedy=remedy,
            level=CheckLevel.WARNING,
        )
