"""The generated pages and pictures, by their names below docs/."""

from collections.abc import Mapping

from infra.docs.cli import cli_page
from infra.docs.error_codes import errors_page
from infra.docs.json_shapes import json_shapes
from infra.docs.log_events import log_events_page
from infra.docs.states import states_page, states_pictures
from infra.docs.variables import settings_page
from infra.local.bundle import REPOSITORY

FOLDER = REPOSITORY / "docs"


def pages() -> Mapping[str, str]:
    """Every page and picture as the code would have it now."""
    return {
        "reference/cli.md": cli_page(),
        "reference/cli-json.schema.json": json_shapes(),
        "reference/errors.md": errors_page(),
        "reference/log-events.md": log_events_page(),
        "reference/settings.md": settings_page(),
        "reference/states.md": states_page(),
        **{f"images/{name}": svg for name, svg in states_pictures().items()},
    }
