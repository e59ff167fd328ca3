"""The method `generateContent`: a proper answer, or the fault that was asked for."""

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from infra.local.gemini.calls import Calls
from infra.local.gemini.fault_answers import ANSWERS, DELIVERIES, REFUSALS
from infra.local.gemini.faults import FaultKind, FaultRule, Faults
from infra.local.gemini.requests import Refused, named_model, read_request

_SOUND = FaultRule(kind=FaultKind.NONE)


class GenerateContent:
    """Answers one method for all models, on both backends' paths."""

    def __init__(self, faults: Faults, calls: Calls, latency_seconds: float) -> None:
        self._faults = faults
        self._calls = calls
        self._latency_seconds = latency_seconds

    async def respond(self, request: Request) -> Response:
        """Answer one call."""
        await self._calls.note(named_model(request), request)
        try:
            asked = await read_request(request)
        except Refused as refused:
            return refused.response()
        rule = self._faults.take(asked.model, asked.text) or _SOUND
        refuse = REFUSALS.get(rule.kind)
        if refuse is not None:
            return refuse(rule, f"{asked.credential} {asked.text}")
        await asyncio.sleep(self._latency_seconds)
        self._calls.answered[asked.model] += 1
        say = ANSWERS.get(rule.kind, ANSWERS[FaultKind.NONE])
        whole = JSONResponse(say(rule, asked))
        deliver = DELIVERIES.get(rule.kind)
        return deliver(rule, whole) if deliver else whole
