"""What the job record remembers of the work on it: for eyes, for the bill, for operators.

Nothing here decides anything. The lists are bounded: the oldest entries go first.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

MAX_ATTEMPTS_KEPT = 20
MAX_ACTS_KEPT = 20


class CallPurpose(StrEnum):
    """What a model call was made for."""

    REPORT = "report"
    REPAIR = "repair"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """One model call, as far as its caller lived to record it."""

    #: From 1 under one claim.
    number: int
    purpose: CallPurpose
    started_at: datetime
    ended_at: datetime | None = None
    #: The code of the call's failure; None after an answer, and while there is none.
    code: str | None = None
    finish_reason: str | None = None
    #: As the profile names it; what it costs is looked up by this.
    model_name: str | None = None
    model_version: str | None = None
    #: As the provider sent it.
    usage: Mapping[str, Any] | None = None


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
        others = tuple(known for known in self.calls if known.number != call.number)
        return replace(self, calls=(*others, call))


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorAct:
    """What an operator did to the step."""

    act: str
    at: datetime
    reason: str
