"""What the job record remembers of the work on it, as an operator sees it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from executor.contract.tiers import ServiceTier, served_tier
from infra.ops.environment.stored_documents import (
    at,
    integer_at,
    maps_at,
    number_at,
    text_at,
    time_at,
)
from shared.domain.times import rfc3339


@dataclass(frozen=True, slots=True, kw_only=True)
class CallView:
    """One model call."""

    number: int | None
    purpose: str
    started_at: datetime | None
    cut_off_at: datetime | None
    ended_at: datetime | None
    code: str | None
    finish_reason: str | None
    model: str | None
    #: The tier that was asked; None for the standard one, which is asked without a word.
    asked_tier: str | None
    #: At which it was served, in the provider's words.
    tier: str | None
    tokens: int | None
    cost_usd: float | None

    @property
    def seconds(self) -> float | None:
        """How long the answer took; None while there is none."""
        if self.started_at is None or self.ended_at is None:
            return None
        return (self.ended_at - self.started_at).total_seconds()

    @property
    def tier_words(self) -> str:
        """Which tier was asked and served; empty where nothing but the standard one was."""
        asked = ServiceTier(self.asked_tier or ServiceTier.STANDARD)
        served = served_tier(self.tier, asked) or self.tier
        if served is None:
            return f"{asked} asked"
        if served != asked:
            return f"{asked} asked, {served} served"
        return "" if asked is ServiceTier.STANDARD and not self.tier else f"{asked} tier"

    def as_json(self) -> dict[str, Any]:
        """The call as `--json` prints it."""
        return {
            "number": self.number,
            "purpose": self.purpose,
            "startedAt": time_json(self.started_at),
            "cutOffAt": time_json(self.cut_off_at),
            "endedAt": time_json(self.ended_at),
            "code": self.code,
            "finishReason": self.finish_reason,
            "model": self.model,
            "askedTier": self.asked_tier,
            "tier": self.tier,
            "tokens": self.tokens,
            "costUsd": self.cost_usd,
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
    by: str | None
    via: str | None
    claim_id: str | None

    def as_json(self) -> dict[str, Any]:
        """The act as `--json` prints it."""
        return {
            "act": self.act,
            "at": time_json(self.at),
            "reason": self.reason,
            "by": self.by,
            "via": self.via,
            "claimId": self.claim_id,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimView:
    """A former claim of the step."""

    number: int | None
    claim_id: str | None
    claimed_at: datetime | None
    state: str
    code: str | None
    llm_calls: int
    cost_usd: float | None
    attempts: Sequence[AttemptView]

    def as_json(self) -> dict[str, Any]:
        """The claim as `--json` prints it."""
        return {
            "number": self.number,
            "claimId": self.claim_id,
            "claimedAt": time_json(self.claimed_at),
            "state": self.state,
            "code": self.code,
            "llmCalls": self.llm_calls,
            "costUsd": self.cost_usd,
            "attempts": [attempt.as_json() for attempt in self.attempts],
        }


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
    #: From 1: how often the step was claimed.
    claim_number: int
    former_claims: Sequence[ClaimView]
    #: An operator has seen to the failure.
    acknowledged: bool
    #: Where the answer to a call in the background waits.
    waits_for_answer: bool
    #: Calls that the provider refused.
    refusals: int
    #: While it waits for room at the provider: until when, and behind how many.
    patience_until: datetime | None
    before_in_queue: int

    @property
    def open_call(self) -> CallView | None:
        """The call that is under way, by the record; None while the job is not leased."""
        calls = self.attempts[-1].calls if self.attempts and self.state == "RUNNING" else []
        return calls[-1] if calls and calls[-1].ended_at is None else None

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
            "claimNumber": self.claim_number,
            "formerClaims": [claim.as_json() for claim in self.former_claims],
            "acknowledged": self.acknowledged,
            "refusals": self.refusals,
            "patienceUntil": time_json(self.patience_until),
        }


def acts_of(job: Mapping[str, Any]) -> Sequence[ActView]:
    """What operators did, the oldest first."""
    return [
        ActView(
            act=text_at(act, "act") or "",
            at=time_at(act, "at"),
            reason=text_at(act, "reason") or "",
            by=text_at(act, "by"),
            via=text_at(act, "via"),
            claim_id=text_at(act, "claimId"),
        )
        for act in maps_at(job, "operatorActs")
    ]


def former_claims_of(job: Mapping[str, Any]) -> Sequence[ClaimView]:
    """The claims before the present one that the record remembers, the oldest first."""
    return [
        ClaimView(
            number=integer_at(claim, "number"),
            claim_id=text_at(claim, "claimId"),
            claimed_at=time_at(claim, "claimedAt"),
            state=text_at(claim, "state") or "",
            code=text_at(claim, "code"),
            llm_calls=integer_at(claim, "llmCalls") or 0,
            cost_usd=number_at(claim, "costUsd"),
            attempts=attempts_of(claim, "attempts"),
        )
        for claim in maps_at(job, "formerClaims")
    ]


def attempts_of(job: Mapping[str, Any], name: str = "history") -> Sequence[AttemptView]:
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
        for attempt in maps_at(job, name)
    ]


def _tier(word: str | None) -> str | None:
    """A tier that is known here: another version may ask for another one."""
    return word if word in set(ServiceTier) else None


def _call(call: Mapping[str, Any]) -> CallView:
    return CallView(
        number=integer_at(call, "number"),
        purpose=text_at(call, "purpose") or "report",
        started_at=time_at(call, "startedAt"),
        cut_off_at=time_at(call, "cutOffAt"),
        ended_at=time_at(call, "endedAt"),
        code=text_at(call, "code"),
        finish_reason=text_at(call, "finishReason"),
        model=text_at(call, "modelVersion") or text_at(call, "modelName"),
        asked_tier=_tier(text_at(call, "askedTier")),
        tier=text_at(call, "serviceTier"),
        tokens=integer_at(call, "usage", "totalTokenCount"),
        cost_usd=number_at(call, "costUsd"),
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
        claim_number=integer_at(job, "claimNumber") or 1,
        former_claims=former_claims_of(job),
        acknowledged=at(job, "acknowledged") is True,
        waits_for_answer=text_at(job, "interaction", "id") is not None,
        refusals=integer_at(job, "refusals") or 0,
        patience_until=time_at(job, "waiting", "until") if text_at(job, "queue") else None,
        before_in_queue=integer_at(job, "waiting", "before") or 0,
    )


def time_json(moment: datetime | None) -> str | None:
    """A moment as `--json` prints it."""
    return None if moment is None else rfc3339(moment)
