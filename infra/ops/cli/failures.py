"""The failures that a user can act on: told in their own words, without a traceback."""

import os

from infra.failures import CannotBeDone
from shared.ports import PortFailure
from shared.settings import SettingsInvalid

_FAILED = 1
#: Failures of the worker's own ports and of the machine.
_EXPLAINED = (OSError, PortFailure, SettingsInvalid)


def exit_code(failure: Exception) -> int | None:
    """The exit code of a failure whose message is all that a user needs; None for a defect."""
    if isinstance(failure, ExceptionGroup):
        # Tasks that run side by side may all meet the same full disk: one message is enough.
        codes = [exit_code(each) for each in failure.exceptions]
        return None if None in codes else codes[0]
    if isinstance(failure, BrokenPipeError):
        # The reader of our output has closed it, as `head` does: typer ends without a word.
        return None
    if isinstance(failure, CannotBeDone):
        return failure.exit_code
    return _FAILED if isinstance(failure, _EXPLAINED) else None


def words(failure: Exception) -> str:
    """What to tell of such a failure."""
    if isinstance(failure, ExceptionGroup):
        return words(failure.exceptions[0])
    if isinstance(failure, OSError) and failure.filename is not None:
        return f"{os.fspath(failure.filename)}: {failure.strerror}"
    return str(failure)
