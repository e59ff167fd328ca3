"""The life of a step, as far as the worker moves it.

Everything that decides a step's status stands in this module. The orchestrator alone sets
READY, and alone ends steps that the worker never claimed.
"""

from enum import StrEnum


class StepStatus(StrEnum):
    """The status of a step; each member says who moves the step out of it."""

    PENDING = "PENDING"  #: The orchestrator, when it wants the step to run.
    READY = "READY"  #: The dispatcher claims it; if its event is lost, the sweep does.
    RUNNING = (
        "RUNNING"  #: The executor ends it; if it dies, the next lease holder or the sweep.
    )
    SUCCEEDED = "SUCCEEDED"  #: Nobody: terminal.
    FAILED = "FAILED"  #: Nobody: terminal, unless an operator or the orchestrator reopens it.
    SKIPPED = "SKIPPED"  #: Nobody: terminal.
    CANCELLED = (
        "CANCELLED"  #: Nobody: terminal, unless an operator or the orchestrator reopens it.
    )


class StepMove(StrEnum):
    """What the worker does to a step."""

    CLAIM = "claim"
    SUCCEED = "succeed"
    FAIL = "fail"


TRANSITIONS: dict[StepStatus, dict[StepMove, StepStatus]] = {
    StepStatus.PENDING: {},
    StepStatus.READY: {StepMove.CLAIM: StepStatus.RUNNING},
    StepStatus.RUNNING: {
        StepMove.SUCCEED: StepStatus.SUCCEEDED,
        StepMove.FAIL: StepStatus.FAILED,
    },
    StepStatus.SUCCEEDED: {},
    StepStatus.FAILED: {},
    StepStatus.SKIPPED: {},
    StepStatus.CANCELLED: {},
}


class OperatorMove(StrEnum):
    """What an operator does to a step, by a tool and never by itself."""

    CANCEL = "cancel"
    RERUN = "rerun"


OPERATOR_TRANSITIONS: dict[StepStatus, dict[OperatorMove, StepStatus]] = {
    StepStatus.PENDING: {},
    StepStatus.READY: {},
    StepStatus.RUNNING: {OperatorMove.CANCEL: StepStatus.CANCELLED},
    StepStatus.SUCCEEDED: {},
    StepStatus.FAILED: {OperatorMove.RERUN: StepStatus.READY},
    StepStatus.SKIPPED: {},
    StepStatus.CANCELLED: {OperatorMove.RERUN: StepStatus.READY},
}


class IllegalMove(Exception):
    """The transition table has no such move; nothing was changed."""


def advance_step(status: StepStatus, move: StepMove) -> StepStatus:
    """The status after the move.

    Raises:
        IllegalMove: the step may not be moved so from this status.
    """
    try:
        return TRANSITIONS[status][move]
    except KeyError:
        raise IllegalMove(f"a {status} step cannot {move}") from None


def operate_step(status: StepStatus, move: OperatorMove) -> StepStatus:
    """The status after the operator's move.

    Raises:
        IllegalMove: an operator may not move the step so from this status.
    """
    try:
        return OPERATOR_TRANSITIONS[status][move]
    except KeyError:
        raise IllegalMove(f"{move} is not for a {status} step") from None
