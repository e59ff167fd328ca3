"""The stand-in's service tiers: each with room for so many calls, and its own way to be full.

Without rules every tier has room. https://ai.google.dev/gemini-api/docs/optimization
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from http import HTTPStatus
from typing import Any

from starlette.requests import Request

from executor.contract.tiers import ServiceTier
from infra.local.gemini.requests import RequestRefused

_MINUTE = 60.0
_HEADER = "x-vertex-ai-llm-shared-request-type"
#: The field in which Vertex says at which tier it served
#: (https://ai.google.dev/api/generate-content#UsageMetadata).
_TRAFFIC = {
    ServiceTier.DEFERRED: "ON_DEMAND_OFFPEAK",
    ServiceTier.FLEX: "ON_DEMAND_FLEX",
    ServiceTier.STANDARD: "ON_DEMAND",
    ServiceTier.PRIORITY: "ON_DEMAND_PRIORITY",
}


class WhenFull(StrEnum):
    """What becomes of a call for which its tier has no room."""

    SHED = "shed"  #: 503, as flex answers.
    LIMIT = "limit"  #: 429.
    QUEUE = "queue"  #: It waits for room, as a deferred call does.
    DOWNGRADE = "downgrade"  #: It is served at the standard tier, as priority is.


@dataclass(frozen=True, slots=True, kw_only=True)
class TierRule:
    """What a tier has to offer."""

    tier: ServiceTier
    #: Calls at work at once.
    capacity: int
    when_full: WhenFull = WhenFull.SHED
    #: How much longer than others its calls take.
    seconds: float = 0.0
    #: Calls that it takes in any sixty seconds; None is no limit.
    per_minute: int | None = None


@dataclass(slots=True, kw_only=True)
class TierWork:
    """One call at work."""

    tier: ServiceTier
    ends_at: float
    #: It had to give way before it had ended.
    evicted: bool = False


@dataclass(slots=True, kw_only=True)
class Tiers:
    """The tiers of one stand-in."""

    now: Callable[[], float] = time.monotonic
    rules: Mapping[ServiceTier, TierRule] = field(default_factory=dict)
    _at_work: list[TierWork] = field(default_factory=list)
    #: When its latest calls were taken, by the tier that was asked for.
    _taken: dict[ServiceTier, list[float]] = field(default_factory=dict)

    def set(self, rules: Iterable[TierRule]) -> None:
        """Replace the rules that were in force; calls that have no room now are evicted."""
        self.rules = {rule.tier: rule for rule in rules}
        for rule in self.rules.values():
            for work in self._busy(rule.tier)[rule.capacity :]:
                work.evicted = True

    def take(self, asked: ServiceTier, seconds: float) -> TierWork:
        """Have a call work for so long, now or once there is room.

        Raises:
            RequestRefused: the tier is full.
        """
        rule = self.rules.get(asked)
        if rule is None:
            return self._begun(asked, self.now() + seconds)
        self._count(rule)
        seconds += rule.seconds
        busy = self._busy(asked)
        if len(busy) < rule.capacity:
            return self._begun(asked, self.now() + seconds)
        if rule.when_full is WhenFull.DOWNGRADE:
            return self.take(ServiceTier.STANDARD, seconds)
        if rule.when_full is WhenFull.QUEUE and rule.capacity:
            free_at = sorted(work.ends_at for work in busy)[-rule.capacity]
            return self._begun(asked, free_at + seconds)
        raise _full(rule)

    def _count(self, rule: TierRule) -> None:
        """Count a call against the minute's quota.

        Raises:
            RequestRefused: the quota is used up.
        """
        if rule.per_minute is None:
            return
        now = self.now()
        late = [at for at in self._taken.get(rule.tier, ()) if at > now - _MINUTE]
        if len(late) >= rule.per_minute:
            raise _full(rule)
        self._taken[rule.tier] = [*late, now]

    def _begun(self, tier: ServiceTier, ends_at: float) -> TierWork:
        work = TierWork(tier=tier, ends_at=ends_at)
        self._at_work = [other for other in self._at_work if self._works(other)]
        self._at_work.append(work)
        return work

    def _busy(self, tier: ServiceTier) -> Sequence[TierWork]:
        return [work for work in self._at_work if work.tier is tier and self._works(work)]

    def _works(self, work: TierWork) -> bool:
        return not work.evicted and work.ends_at > self.now()


def _full(rule: TierRule) -> RequestRefused:
    if rule.when_full is WhenFull.LIMIT:
        return RequestRefused(
            HTTPStatus.TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED", "no quota left"
        )
    return RequestRefused(HTTPStatus.SERVICE_UNAVAILABLE, "UNAVAILABLE", "no room at this tier")


def tier_rules(document: Any) -> list[TierRule]:
    """The rules in a control request: a list of objects with the fields of `TierRule`.

    Raises:
        ValueError: it is something else.
    """
    known = {each.name for each in fields(TierRule)}
    if not isinstance(document, list) or not all(
        isinstance(item, Mapping) and {"tier", "capacity"} <= item.keys() <= known
        for item in document
    ):
        raise ValueError(f"a list of rules is needed, each with fields of {sorted(known)}")
    return [
        TierRule(
            **{
                **item,
                "tier": ServiceTier(item["tier"]),
                "when_full": WhenFull(item.get("when_full", WhenFull.SHED)),
            }
        )
        for item in document
    ]


def asked_tier(request: Request, named: object, *, background: bool) -> ServiceTier:
    """The tier that a call asks for, in its body or at Vertex by a header.

    Raises:
        RequestRefused: the backend has no such tier, or not there.
    """
    on_vertex = "project" in request.path_params
    by_header = request.headers.get(_HEADER)
    if on_vertex and named is not None and not background:
        raise _bad('Unknown name "serviceTier"')
    word = by_header if on_vertex and named is None else named
    try:
        tier = ServiceTier(str(word)) if word is not None else ServiceTier.STANDARD
    except ValueError:
        raise _bad("no such service tier") from None
    if tier is ServiceTier.DEFERRED and not (on_vertex and background):
        raise _bad("deferred calls are made in the background, at Vertex")
    if on_vertex and tier is ServiceTier.FLEX:
        if by_header != tier:
            raise _bad("flex is asked for by a header")
        if request.path_params.get("location") != "global":
            raise _bad("flex is served at the global endpoint alone")
    return tier


def said_of_tier(
    request: Request, asked: ServiceTier, served: ServiceTier
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """What an answer says of its tier: headers, and fields of its usage."""
    if asked is ServiceTier.STANDARD and served is asked:
        return {}, {}
    if "project" in request.path_params:
        return {}, {"trafficType": _TRAFFIC[served]}
    return {"x-gemini-service-tier": str(served)}, {}


def _bad(message: str) -> RequestRefused:
    return RequestRefused(HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", message)
