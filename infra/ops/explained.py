"""The failures that a user can act on: told in their own words, without a traceback.

Loaded when something failed, as the modules that it names are many.
"""

import os

from executor.ports import ObjectsUnavailable
from infra.local.bundle import BundleError
from infra.local.emulator_events import TriggerRefused
from infra.local.emulator_servers import EmulatorUnreachable
from infra.local.environment import EmulatorsMissing
from infra.local.processes import ProcessFailed
from infra.local.pubsub_setup import PubSubRefused
from infra.local.state_file import AlreadyUp
from infra.ops.connection import NotConnected
from infra.ops.dead_letter_box import BoxUnavailable
from infra.ops.model_faults import FaultsRefused
from infra.ops.operator_acts import ActRefused
from infra.ops.registry_files import FileInvalid
from infra.ops.run_reading import NotFound
from infra.ops.smoke_place import SmokeRefused
from infra.ops.step_logs import LogsUnavailable
from shared.ports import StoreUnavailable
from shared.settings import SettingsInvalid

_NOT_FOUND = 3
_FAILED = 1
_EXPLAINED = (
    ActRefused,
    AlreadyUp,
    BoxUnavailable,
    BundleError,
    EmulatorsMissing,
    EmulatorUnreachable,
    FaultsRefused,
    FileInvalid,
    LogsUnavailable,
    NotConnected,
    ObjectsUnavailable,
    OSError,
    ProcessFailed,
    PubSubRefused,
    SettingsInvalid,
    SmokeRefused,
    StoreUnavailable,
    TriggerRefused,
)


def exit_code(failure: Exception) -> int | None:
    """The exit code for a failure that speaks for itself; None for a surprise."""
    if isinstance(failure, BrokenPipeError):
        # Whoever read our output has seen enough, as `head` has: typer ends without a word.
        return None
    if isinstance(failure, NotFound):
        return _NOT_FOUND
    return _FAILED if isinstance(failure, _EXPLAINED) else None


def words(failure: Exception) -> str:
    """What to tell of such a failure."""
    if isinstance(failure, OSError) and failure.filename is not None:
        return f"{os.fspath(failure.filename)}: {failure.strerror}"
    return str(failure)
