"""What the job record remembers of the work on it, as an operator sees it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from infra.ops.lenient import at, integer_at, maps_at, text_at, time_at
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
            "startedAt": time_json(self.started_at),
            "endedAt": time_json(self.ended_at),
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
            "startedAt": time_json(self.started_at),
            "storedAt": time_json(self.stored_at),
            "endedAt": time_json(self.ended_at),
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
        return {"act": self.act, "at": time_json(self.at), "reason": self.reason}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A step's job record."""

    state: str
    attempt: int
    llm_calls: int
    claim_id: str | None
    claimed_at: datetime | None
    lease_owner: str | None
    lease_expires_at: datetime | None
    not_before: datetime | None
    wake_at: datetime | None
    last_code: str | None
    attempts: Sequence[AttemptView]
    acts: Sequence[ActView]

    def as_json(self) -> dict[str, Any]:
        """The record as `--json` prints it."""
        return {
            "state": self.state,
            "attempt": self.attempt,
            "llmCalls": self.llm_calls,
            "claimId": self.claim_id,
            "claimedAt": time_json(self.claimed_at),
            "leaseOwner": self.lease_owner,
            "leaseExpiresAt": time_json(self.lease_expires_at),
            "notBefore": time_json(self.not_before),
            "wakeAt": time_json(self.wake_at),
            "lastCode": self.last_code,
            "attempts": [attempt.as_json() for attempt in self.attempts],
            "acts": [act.as_json() for act in self.acts],
        }


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


def job_view(job: Mapping[str, Any]) -> JobView:
    """A job record as it is stored."""
    return JobView(
        state=str(at(job, "state")),
        attempt=integer_at(job, "attempt") or 0,
        llm_calls=integer_at(job, "llmCalls") or 0,
        claim_id=text_at(job, "claimId"),
        claimed_at=time_at(job, "claimedAt"),
        lease_owner=text_at(job, "lease", "owner"),
        lease_expires_at=time_at(job, "lease", "expiresAt"),
        not_before=time_at(job, "notBefore"),
        wake_at=time_at(job, "wakeAt"),
        last_code=text_at(job, "lastError", "code"),
        attempts=attempts_of(job),
        acts=acts_of(job),
    )


def time_json(moment: datetime | None) -> str | None:
    """A moment as `--json` prints it."""
    return None if moment is None else rfc3339(moment)
