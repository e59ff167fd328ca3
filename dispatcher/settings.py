"""The dispatcher's settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from shared.settings import (
    KEEP_CLOSED_JOBS,
    TOPIC,
    EnvironmentReader,
    SharedSettings,
    read_max_attempts,
    read_shared,
    topic_path,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSettings:
    """Bounds of one sweep."""

    #: The executor's own attempt budget: what it did not live to end, the sweep ends.
    max_attempts: int
    #: No further page is begun after so long.
    budget_seconds: int
    #: Jobs or runs read, and worked on, at once.
    page_size: int
    #: Of jobs, and again of runs.
    max_pages: int
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
    )
    queued_seconds = reader.integer("QUEUED_SECONDS", 60, minimum=1, maximum=900)
    return DispatcherSettings(
        shared=shared,
        jobs_topic=jobs_topic,
        queued_for=timedelta(seconds=queued_seconds),
        sweep=sweep,
    )
