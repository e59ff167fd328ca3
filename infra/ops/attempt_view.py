"""What the job record remembers of the work on it, as an operator sees it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from infra.ops.lenient import integer_at, maps_at, text_at, time_at
from shared.domain.times import rfc3339


@dataclass(frozen=True, slots=True, kw_only=True)
class CallView:
    """One model call."""

    number: int | None
    purpose: str
    started_at: datetime | None
    ended_at: datetime | None
    code: str | None
    finish_reason: str | None
    tokens: int | None

    def as_json(self) -> dict[str, Any]:
        """The call as `--json` prints it."""
        return {
            "number": self.number,
            "purpose": self.purpose,
            "startedAt": self.started_at and rfc3339(self.started_at),
            "endedAt": self.ended_at and rfc3339(self.ended_at),
            "code": self.code,
            "finishReason": self.finish_reason,
            "tokens": self.tokens,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    """One lease of the job; without `ended_at` its holder is at work, or died."""

    number: int | None
    started_at: datetime | None
    stored_at: datetime | None
    ended_at: datetime | None
    code: str | None
    calls: Sequence[CallView]

    def as_json(self) -> dict[str, Any]:
        """The attempt as `--json` prints it."""
        return {
            "number": self.number,
            "startedAt": self.started_at and rfc3339(self.started_at),
            "storedAt": self.stored_at and rfc3339(self.stored_at),
            "endedAt": self.ended_at and rfc3339(self.ended_at),
            "code": self.code,
            "calls": [call.as_json() for call in self.calls],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ActView:
    """What an operator did to the step."""

    act: str
    at: datetime | None
    reason: str

    def as_json(self) -> dict[str, Any]:
        """The act as `--json` prints it."""
        at = self.at and rfc3339(self.at)
        return {"act": self.act, "at": at, "reason": self.reason}


def acts_of(job: Mapping[str, Any]) -> Sequence[ActView]:
    """What operators did, the oldest first."""
    return [
        ActView(
            act=text_at(act, "act") or "",
            at=time_at(act, "at"),
            reason=text_at(act, "reason") or "",
        )
        for act in maps_at(job, "operatorActs")
    ]


def attempts_of(job: Mapping[str, Any]) -> Sequence[AttemptView]:
    """The attempts that the record remembers, the oldest first."""
    return [
        AttemptView(
            number=integer_at(attempt, "number"),
            started_at=time_at(attempt, "startedAt"),
            stored_at=time_at(attempt, "storedAt"),
            ended_at=time_at(attempt, "endedAt"),
            code=text_at(attempt, "code"),
            calls=[_call(call) for call in maps_at(attempt, "calls")],
        )
        for attempt in maps_at(job, "history")
    ]


def _call(call: Mapping[str, Any]) -> CallView:
    return CallView(
        number=integer_at(call, "number"),
        purpose=text_at(call, "purpose") or "report",
        started_at=time_at(call, "startedAt"),
        ended_at=time_at(call, "endedAt"),
        code=text_at(call, "code"),
        finish_reason=text_at(call, "finishReason"),
        tokens=integer_at(call, "usage", "totalTokenCount"),
    )
