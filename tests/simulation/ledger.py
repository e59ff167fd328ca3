"""What the checker remembers of each claim, gathered from the effects that it saw."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NewType

from executor.contract.artifacts import GcsUri
from tests.simulation.process import Request

#: `<run id>~<step id>`, as job records are named.
StepKey = NewType("StepKey", str)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTaken:
    """One attempt under a claim."""

    owner: str
    #: The request that took the lease; None when the write came after that request was
    #: forgotten.
    request: Request | None
    attempt: int
    at_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """When the id of a call in the background was first written to the job record."""

    request: Request | None
    at_seconds: float

    def known_to(self, lease: LeaseTaken | None) -> bool:
        """Whether the lease's holder wrote the id, or read it when it took the lease.

        Where the clocks of two holders differ by more than a lease, the earlier one may begin a
        call beside this one: no provider takes a fencing token.
        """
        return lease is not None and (
            lease.request is self.request or lease.at_seconds > self.at_seconds
        )


@dataclass(slots=True, kw_only=True)
class CallSeen:
    """One model call."""

    request: Request | None
    #: The caller knows that nothing has to be paid for the call.
    free: bool = False
    #: The caller has its answer.
    answered: bool = False
    #: The call was refused for good.
    final: bool = False
    #: The call was at work, and was stopped in favour of another one.
    stopped: bool = False


@dataclass(slots=True, kw_only=True)
class Claim:
    """All that happened under one claim of a step."""

    key: StepKey
    claim_id: str
    event_id: str
    leases: list[LeaseTaken] = field(default_factory=list)
    #: Until when the lease of each owner counts, as it was last renewed.
    held_until: dict[str, datetime] = field(default_factory=dict)
    calls: list[CallSeen] = field(default_factory=list)
    #: The calls in the background that were ever recorded, by id.
    recorded: dict[str, Recorded] = field(default_factory=dict)
    #: The number of booked calls that the job record holds.
    booked: int = 0
    published: int = 0
    #: The status with which the step ended under this claim.
    ended: str | None = None
    reused: bool = False

    @property
    def billable(self) -> list[CallSeen]:
        """The calls that may have to be paid for, as far as their callers can know."""
        return [call for call in self.calls if not call.free]

    def lease_of(self, request: Request | None) -> LeaseTaken | None:
        """The lease that the request took."""
        found = (lease for lease in reversed(self.leases) if lease.request is request)
        return next(found, None)


@dataclass(slots=True)
class Ledger:
    """All claims, and who made which report."""

    claims: dict[tuple[StepKey, str], Claim] = field(default_factory=dict)
    #: When each report was stored, in virtual seconds.
    stored_at: dict[GcsUri, float] = field(default_factory=dict)

    def claim(self, key: str, job: Mapping[str, Any]) -> Claim:
        """The claim that a job record speaks of."""
        index = (StepKey(key), job["claimId"])
        if index not in self.claims:
            self.claims[index] = Claim(
                key=index[0], claim_id=job["claimId"], event_id=job["eventId"]
            )
        return self.claims[index]

    def leased_claim(self, key: str, request: Request | None) -> Claim | None:
        """The claim under which the request holds, or held, the step's lease."""
        found = (
            claim
            for claim in reversed(self.claims.values())
            if claim.key == key and claim.lease_of(request) is not None
        )
        return next(found, None)
