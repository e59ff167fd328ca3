"""What the job record remembers of the work on it: for eyes, for the bill, for operators.

Nothing here decides anything. The lists are bounded: the oldest entries go first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from shared.domain.identifiers import ClaimId

MAX_ATTEMPTS_KEPT = 20
MAX_CLAIMS_KEPT = 10
MAX_ACTS_KEPT = 20


class CallPurpose(StrEnum):
    """What a model call was made for."""

    REPORT = "report"
    REPAIR = "repair"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """One model call, as far as its caller could record it before it ended or died."""

    #: From 1 under one claim.
    number: int
    purpose: CallPurpose
    started_at: datetime
    #: When its caller gives it up; None for a call in the background, whose answer waits.
    cut_off_at: datetime | None = None
    ended_at: datetime | None = None
    #: The code of the call's failure; None after an answer, and while there is none.
    code: str | None = None
    finish_reason: str | None = None
    #: As the profile names it; what it costs is looked up by this.
    model_name: str | None = None
    model_version: str | None = None
    #: The service tier that was asked for; None is the standard one.
    asked_tier: str | None = None
    #: At which it was served, in the provider's words.
    service_tier: str | None = None
    #: As the provider sent it.
    usage: Mapping[str, Any] | None = None
    #: What it cost by the price table of its day; None where that is not known.
    cost_usd: float | None = None
    #: It failed, and the model may have worked on it all the same.
    maybe_billed: bool = False

    def is_same(self, other: "ModelCall") -> bool:
        """Whether both tell of one call: a free one leaves its number to the next."""
        return (self.number, self.started_at) == (other.number, other.started_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One lease of the job. Without `ended_at` its holder is at work, or died."""

    #: From 1 under one claim.
    number: int
    started_at: datetime
    ended_at: datetime | None = None
    stored_at: datetime | None = None
    #: How it failed; None after success.
    code: str | None = None
    calls: tuple[ModelCall, ...] = ()

    def with_call(self, call: ModelCall) -> "Attempt":
        """The attempt with this call, in the place of what it knew of the same call."""
        others = tuple(known for known in self.calls if not known.is_same(call))
        return replace(self, calls=(*others, call))

    def without_call(self, number: int) -> "Attempt":
        """The attempt without its last call, if that has this number."""
        if not self.calls or self.calls[-1].number != number:
            return self
        return replace(self, calls=self.calls[:-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorAct:
    """What an operator did to the step."""

    act: str
    at: datetime
    reason: str
    #: The account or the name of the operator; None for acts from before it was kept.
    by: str | None = None
    #: The tool, such as `console` or `command line`.
    via: str | None = None
    #: The claim that the operator had seen when deciding.
    claim_id: ClaimId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FormerClaim:
    """An earlier claim of the step, as it stood when the step was claimed again."""

    #: From 1.
    number: int
    claim_id: ClaimId
    claimed_at: datetime
    #: The state that its job had come to.
    state: str
    llm_calls: int
    #: How its last failed attempt ended.
    code: str | None = None
    #: What its calls cost in USD, as far as their models had a price.
    cost_usd: float | None = None
    attempts: tuple[Attempt, ...] = ()
