"""What a kill at each point costs, under each call policy: the table that is tested.

`docs/reliability-billing.md` is generated from it; see tests/tables/billing_kills_page.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from shared.domain.errors import ErrorCode
from tests.chaos.mortal import Point


class Policy(StrEnum):
    """The settings that decide what happens to a call whose caller has died."""

    AT_LEAST_ONCE = "at_least_once"
    AT_MOST_ONCE = "at_most_once"
    BACKGROUND = "background"
    BACKGROUND_AT_MOST_ONCE = "background, at_most_once"
    HOOKS = "background, hooks"
    HOOKS_AT_MOST_ONCE = "background, hooks, at_most_once"

    @property
    def environ(self) -> Mapping[str, str]:
        """The environment variables that choose it."""
        background, at_most_once = "background" in self, "at_most_once" in self
        return {
            "GEMINI_API": "interactions" if background else "generate_content",
            "CALL_POLICY": "at_most_once" if at_most_once else "at_least_once",
            **({"WEBHOOK_SECRET": HOOK_SECRET} if self in HOOKLESS else {}),
        }


HOOK_SECRET = "s" * 32
#: What a policy with hooks becomes when no hook comes.
HOOKLESS: Mapping[Policy, Policy] = {
    Policy.HOOKS: Policy.BACKGROUND,
    Policy.HOOKS_AT_MOST_ONCE: Policy.BACKGROUND_AT_MOST_ONCE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a step with a kill costs."""

    billed_calls: int
    #: None when the step succeeds in spite of the kill.
    code: ErrorCode | None = None
    #: How many calls the provider keeps although nobody will fetch them.
    left_at_provider: int = 0


_ONE = Cost(billed_calls=1)
_TWO = Cost(billed_calls=2)
_UNPAID = Cost(billed_calls=0, code=ErrorCode.CALL_OUTCOME_UNKNOWN)
_PAID = Cost(billed_calls=1, code=ErrorCode.CALL_OUTCOME_UNKNOWN)
#: The only window that remains without hooks: a call has begun, and nobody knows its id.
_LOST_ID = Cost(billed_calls=2, left_at_provider=1)
_LOST_ID_AT_MOST_ONCE = Cost(
    billed_calls=1, code=ErrorCode.CALL_OUTCOME_UNKNOWN, left_at_provider=1
)

#: By point, the costs in the order of `Policy`; None where a policy has no such point.
_COSTS: Mapping[Point, Sequence[Cost | None]] = {
    Point.NEVER: (_ONE, _ONE, _ONE, _ONE, _ONE, _ONE),
    Point.BEFORE_BOOKING: (_ONE, _ONE, _ONE, _ONE, _ONE, _ONE),
    Point.AFTER_BOOKING: (_ONE, _UNPAID, _ONE, _UNPAID, _ONE, _UNPAID),
    Point.BEFORE_RECORDING: (None, None, _LOST_ID, _LOST_ID_AT_MOST_ONCE, _ONE, _ONE),
    Point.DURING_CALL: (_TWO, _PAID, _ONE, _ONE, _ONE, _ONE),
    Point.BEFORE_ARTIFACT: (_TWO, _PAID, _ONE, _ONE, _ONE, _ONE),
    Point.AFTER_ARTIFACT: (_ONE, _ONE, _ONE, _ONE, _ONE, _ONE),
    Point.AFTER_FINALIZE: (_ONE, _ONE, _ONE, _ONE, _ONE, _ONE),
}

TABLE: Mapping[tuple[Point, Policy], Cost] = {
    (point, policy): cost
    for point, costs in _COSTS.items()
    for policy, cost in zip(Policy, costs, strict=True)
    if cost is not None
}
