"""The generated pages, by their names."""

from collections.abc import Mapping

from infra.docs.cli import cli_page
from infra.docs.error_codes import errors_page
from infra.docs.log_events import log_events_page
from infra.docs.states import states_page
from infra.docs.variables import settings_page
from infra.local.bundle import REPOSITORY

FOLDER = REPOSITORY / "docs" / "reference"


def pages() -> Mapping[str, str]:
    """Every page as the code would have it now."""
    return {
        "cli.md": cli_page(),
        "errors.md": errors_page(),
        "log-events.md": log_events_page(),
        "settings.md": settings_page(),
        "states.md": states_page(),
    }
