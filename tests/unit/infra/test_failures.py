"""Which failures of a command are reported in their own words, and with which exit code."""

import pytest

from infra.failures import CannotBeDone
from infra.ops.cli.failures import exit_code, words
from shared.ports import StoreUnavailable

FULL = OSError(28, "No space left on device", "journal.jsonl")


class Odd(CannotBeDone):
    """It cannot be done."""

    exit_code = 5


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (FULL, 1),
        (Odd("no"), 5),
        (StoreUnavailable("UNAVAILABLE"), 1),
        (BrokenPipeError(), None),
        (KeyError("x"), None),
        (ExceptionGroup("tasks", [FULL, StoreUnavailable("UNAVAILABLE")]), 1),
        (ExceptionGroup("tasks", [ExceptionGroup("inner", [FULL])]), 1),
        (ExceptionGroup("tasks", [FULL, KeyError("a defect is never hidden")]), None),
    ],
)
def test_a_failure_that_speaks_for_itself_has_an_exit_code(
    failure: Exception, code: int | None
) -> None:
    assert exit_code(failure) == code


def test_of_tasks_that_failed_together_one_says_why() -> None:
    group = ExceptionGroup("tasks", [ExceptionGroup("inner", [FULL]), FULL])

    assert words(group) == "journal.jsonl: No space left on device"
