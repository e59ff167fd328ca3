"""The dispatcher's settings."""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.settings import EnvironmentReader, SharedSettings, read_shared, topic_path


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatcherSettings:
    """What the dispatcher is told by its environment."""

    shared: SharedSettings
    #: `projects/<project>/topics/<topic>`.
    jobs_topic: str


def read_settings(environ: Mapping[str, str]) -> DispatcherSettings:
    """The settings in the environment.

    Raises:
        SettingsInvalid: naming every bad variable.
    """
    reader = EnvironmentReader(environ)
    shared = read_shared(reader)
    jobs_topic = topic_path(shared.project, reader.text("JOBS_TOPIC"))
    reader.finish()
    return DispatcherSettings(shared=shared, jobs_topic=jobs_topic)
