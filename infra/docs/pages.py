"""The generated pages and pictures, by their names below docs/."""

from collections.abc import Mapping

from infra.docs.cli import cli_page
from infra.docs.doctor import doctor_page
from infra.docs.error_codes import errors_page
from infra.docs.evaluation_power import power_page, power_pictures
from infra.docs.json_shapes import json_shapes
from infra.docs.log_events import log_events_page
from infra.docs.states import states_page, states_pictures
from infra.docs.terraform import terraform_page
from infra.docs.variables import settings_page
from infra.local.processes.bundle import REPOSITORY

FOLDER = REPOSITORY / "docs"


def pages() -> Mapping[str, str]:
    """Every page and picture as the code would have it now."""
    return {
        "reference/cli.md": cli_page(),
        "reference/cli-json.schema.json": json_shapes(),
        "reference/doctor.md": doctor_page(),
        "reference/errors.md": errors_page(),
        "reference/evaluation-power.md": power_page(),
        "reference/log-events.md": log_events_page(),
        "reference/settings.md": settings_page(),
        "reference/states.md": states_page(),
        "reference/terraform.md": terraform_page(),
        **{f"images/{name}": svg for name, svg in states_pictures().items()},
        **{f"images/{name}": svg for name, svg in power_pictures().items()},
    }
