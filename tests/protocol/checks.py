"""The searches of the model: that it has no error, and that each breakage has one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.protocol.events import Event, Trace


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One exhaustive search."""

    what: str
    defines: Mapping[str, int]
    has_error: bool = False
    #: Whether the search takes only seconds, and runs with the tests.
    small: bool = True


def _without(rule: str, name: str) -> Check:
    return Check(
        what=f"without this rule: {rule}",
        defines={name: 1, "ACTS": 1, "CLAIMS": 2, "TWO_DISPATCHERS": 1},
        has_error=True,
    )


CHECKS: Sequence[Check] = (
    Check(
        what="a step, two executors, a sweep, one crash, one lease run out",
        defines={"BAD_ANSWERS": 1},
    ),
    Check(
        what="the same with two crashes, two leases run out and three attempts",
        defines={"CRASHES": 2, "EXPIRIES": 2, "ATTEMPTS": 3, "BAD_ANSWERS": 1},
        small=False,
    ),
    Check(
        what="two dispatchers, two claims, and two acts of orchestrator or operator",
        defines={"ACTS": 2, "CLAIMS": 2, "TWO_DISPATCHERS": 1},
        small=False,
    ),
    Check(
        what="calls in the background, two crashes",
        defines={"BACKGROUND": 1, "CRASHES": 2, "BAD_ANSWERS": 1},
        small=False,
    ),
    Check(
        what="calls in the background, a hook that brings the id: one paid call, whatever dies",
        defines={"BACKGROUND": 1, "HINT": 1, "CRASHES": 2, "ONE_PAID_CALL": 1},
    ),
    Check(
        what="the same without the hook",
        defines={"BACKGROUND": 1, "CRASHES": 2, "ONE_PAID_CALL": 1},
        has_error=True,
    ),
    _without("a claim is guarded by the run that it was decided on", "NO_CLAIM_GUARD"),
    _without("a lease is guarded by the record that it was decided on", "NO_LEASE_GUARD"),
    _without("a live lease is left alone", "NO_LIVE_LEASE"),
    _without("a call begins only while the lease counts", "NO_EXPIRY_CHECK"),
    _without("a later attempt looks for the report", "NO_LOOK"),
    _without("an end is fenced by the job record", "NO_FENCE"),
    _without("an end is guarded by the run", "NO_RUN_GUARD"),
    _without("the sweep's writes are guarded", "NO_SWEEP_GUARD"),
)

#: Traces that no run may leave; each has one thing wrong.
ILLEGAL: Sequence[Trace] = tuple(
    tuple(Event[name] for name in text.split())
    for text in (
        "LEASE CALL STORE SUCCEED",
        "CLAIM CALL STORE SUCCEED",
        "CLAIM LEASE CALL SUCCEED",
        "CLAIM LEASE LEASE CALL STORE SUCCEED",
        "CLAIM LEASE CALL STORE SUCCEED FAIL",
        "CLAIM LEASE CALL STORE SUCCEED CLAIM",
        "CLAIM LEASE CALL STORE SUCCEED REOPEN LEASE",
        "CLAIM LEASE CALL CANCEL STORE SUCCEED",
        "CLAIM LEASE WAKE",
        "CLAIM LEASE CALL CALL CALL CALL CALL CALL",
        "CLAIM LEASE CALL STORE EXPIRE LEASE CALL",
        "CLAIM CLAIM",
    )
)
