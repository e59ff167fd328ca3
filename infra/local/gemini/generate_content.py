"""The method `generateContent`: a proper answer, or the fault that was asked for."""

import asyncio
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from executor.contract.tiers import ServiceTier
from infra.local.gemini.calls import Calls
from infra.local.gemini.effects import Effects
from infra.local.gemini.fault_answers import ANSWERS, DELIVERIES, REFUSALS
from infra.local.gemini.faults import FaultKind, FaultRule, Faults
from infra.local.gemini.generation import served
from infra.local.gemini.requests import RequestRefused, named_model, read_request
from infra.local.gemini.tiers import Tiers, TierWork, asked_tier, said_of_tier

_SOUND = FaultRule(kind=FaultKind.NONE)


class GenerateContent:
    """Answers one method for all models, on both backends' paths."""

    def __init__(
        self,
        faults: Faults,
        effects: Effects,
        calls: Calls,
        tiers: Tiers,
        latency_seconds: float,
    ) -> None:
        self._faults = faults
        self._effects = effects
        self._calls = calls
        self._tiers = tiers
        self._latency_seconds = latency_seconds

    async def respond(self, request: Request) -> Response:
        """Answer one call."""
        await self._calls.note(named_model(request), request)
        try:
            asked = await read_request(request)
            named = asked.body.get("serviceTier")
            tier = asked_tier(request, named, background=False)
        except RequestRefused as refused:
            return refused.response()
        rule = self._faults.take(asked.model, asked.text) or _SOUND
        refuse = REFUSALS.get(rule.kind)
        if refuse is not None:
            return refuse(rule, f"{asked.credential} {asked.text}")
        try:
            work = await self._worked(tier)
        except RequestRefused as refused:
            return refused.response()
        self._calls.answered[asked.model] += 1
        say = ANSWERS.get(rule.kind, ANSWERS[FaultKind.NONE])
        headers, counted = said_of_tier(request, tier, work.tier)
        said = self._effects.played(asked, say(rule, asked))
        said = {**said, "usageMetadata": {**said["usageMetadata"], **counted}}
        if rule.tier:
            headers = {"x-gemini-service-tier": rule.tier}
        whole = JSONResponse(served(said, rule), headers=dict(headers))
        deliver = DELIVERIES.get(rule.kind)
        return deliver(rule, whole) if deliver else whole

    async def _worked(self, tier: ServiceTier) -> TierWork:
        """The call's work, once it is done.

        Raises:
            RequestRefused: there is no room for it, or no more.
        """
        work = self._tiers.take(tier, self._latency_seconds)
        await asyncio.sleep(max(0.0, work.ends_at - self._tiers.now()))
        if work.evicted:
            raise RequestRefused(HTTPStatus.SERVICE_UNAVAILABLE, "UNAVAILABLE", "evicted")
        return work
