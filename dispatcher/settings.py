"""The dispatcher's settings."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from dispatcher.webhook_signatures import KEY_PATTERN
from shared.settings import (
    KEEP_CLOSED_JOBS,
    TOPIC,
    EnvironmentReader,
    Form,
    SharedSettings,
    read_hook_secrets,
    read_max_attempts,
    read_shared,
    topic_path,
)

_SIGNING_KEYS = Form(
    re.compile(rf"{KEY_PATTERN}(?:,{KEY_PATTERN})*"),
    "keys of Standard Webhooks, whsec_… or whpk_…, separated by commas",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSettings:
    """Bounds of one sweep."""

    #: The executor's attempt budget: the sweep ends a job whose last attempt died.
    max_attempts: int
    #: No further page is begun after so long.
    budget_seconds: int
    #: Jobs or runs read, and worked on, at once.
    page_size: int
    #: The most pages of jobs in one sweep, and the most pages of runs.
    max_pages: int
    #: For so long jobs are let through that wait for room at the provider, if any do.
    pacing_seconds: int
    keep_closed_jobs: timedelta = KEEP_CLOSED_JOBS


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatcherSettings:
    """What the dispatcher is told by its environment."""

    shared: SharedSettings
    #: `projects/<project>/topics/<topic>`.
    jobs_topic: str
    #: How long a published job may stay queued before the sweep publishes it again.
    queued_for: timedelta
    sweep: SweepSettings
    #: What signs the addresses of hooks, the newest first; only `notify` is given any.
    hook_secrets: tuple[str, ...] = field(default=(), repr=False)
    #: What the provider's own signatures are checked by; none: they are not asked for.
    signing_keys: tuple[str, ...] = field(default=(), repr=False)


def read_settings(environ: Mapping[str, str]) -> DispatcherSettings:
    """The settings in the environment.

    Raises:
        SettingsInvalid: naming every bad variable.
    """
    reader = EnvironmentReader(environ)
    settings = settings_from(reader)
    reader.finish()
    return settings


def settings_from(reader: EnvironmentReader) -> DispatcherSettings:
    """The settings, right or wrong: the reader knows what is wrong with them."""
    shared = read_shared(reader)
    jobs_topic = topic_path(shared.project, reader.formed("JOBS_TOPIC", TOPIC))
    sweep = SweepSettings(
        max_attempts=read_max_attempts(reader),
        budget_seconds=reader.integer("SWEEP_BUDGET_SECONDS", 45, minimum=1, maximum=3_600),
        page_size=reader.integer("SWEEP_PAGE_SIZE", 20, minimum=1, maximum=100),
        max_pages=reader.integer("SWEEP_MAX_PAGES", 100, minimum=1, maximum=10_000),
        pacing_seconds=reader.integer("SWEEP_PACING_SECONDS", 60, minimum=0, maximum=600),
    )
    queued_seconds = reader.integer("QUEUED_SECONDS", 60, minimum=1, maximum=900)
    return DispatcherSettings(
        shared=shared,
        jobs_topic=jobs_topic,
        queued_for=timedelta(seconds=queued_seconds),
        sweep=sweep,
        hook_secrets=read_hook_secrets(reader),
        signing_keys=_signing_keys(reader),
    )


def _signing_keys(reader: EnvironmentReader) -> tuple[str, ...]:
    return tuple(
        filter(None, reader.formed("WEBHOOK_SIGNING_KEYS", _SIGNING_KEYS, "").split(","))
    )
