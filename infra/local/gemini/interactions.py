"""The resource `interactions`: calls in the background, kept until they are deleted.

A call is billed when it is taken: from then on the model works on it, whether or not the answer
is fetched. https://ai.google.dev/api/interactions-api
"""

import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from executor.contract.tiers import ServiceTier
from infra.local.gemini.calls import Calls
from infra.local.gemini.fault_answers import ANSWERS, DELIVERIES, WORD_REFUSALS
from infra.local.gemini.faults import Asked, FaultKind, FaultRule, Faults
from infra.local.gemini.generation import served
from infra.local.gemini.requests import (
    GenerateRequest,
    RequestRefused,
    check_image,
    shown_credential,
)
from infra.local.gemini.tiers import Tiers, TierWork, asked_tier
from infra.local.gemini.webhooks import Webhooks, announcement
from shared.adapters.clock import SystemClock
from shared.domain.times import rfc3339

_SOUND = FaultRule(kind=FaultKind.NONE)
_UNBILLED = frozenset({FaultKind.CALL_FAILS, FaultKind.CALL_NEVER_ENDS})
_STATUSES = {"STOP": "completed", "MAX_TOKENS": "incomplete"}
_ROLES = {"user_input": "user", "model_output": "model"}
_PLACES = (
    "/{version}/interactions",
    "/{version}/projects/{project}/locations/{location}/interactions",
)


@dataclass(slots=True, kw_only=True)
class _Kept:
    """A call as the provider keeps it."""

    model: str
    outcome: Mapping[str, Any]
    work: TierWork
    #: How it ends if it is evicted.
    evicted_as: Mapping[str, Any]
    #: As its beginner set them.
    labels: Mapping[str, str]
    #: When it was taken, on the clock of the work and by the time of day.
    taken_at: float = field(default_factory=time.monotonic)
    created: datetime = field(default_factory=SystemClock().now)
    cancelled: bool = False

    @property
    def ended(self) -> bool:
        return self.cancelled or self.work.evicted or time.monotonic() >= self.work.ends_at

    @property
    def ended_as(self) -> str | None:
        """Its status once it has ended."""
        return str(self._seen["status"]) if self.ended else None

    @property
    def _seen(self) -> Mapping[str, Any]:
        if self.cancelled:
            return {"status": "cancelled"}
        if self.work.evicted:
            return self.evicted_as
        return self.outcome if self.ended else {"status": "in_progress"}

    def document(self, call_id: str) -> dict[str, Any]:
        worked = max(0.0, min(self.work.ends_at, time.monotonic()) - self.taken_at)
        return {
            "id": call_id,
            "object": "interaction",
            "model": self.model,
            "created": rfc3339(self.created),
            "updated": rfc3339(self.created + timedelta(seconds=worked)),
            **({"labels": self.labels} if self.labels else {}),
            **self._seen,
        }


@dataclass(slots=True, kw_only=True)
class Interactions:
    """Background calls of all models, on both backends' paths."""

    faults: Faults
    calls: Calls
    tiers: Tiers
    webhooks: Webhooks
    latency_seconds: float
    kept: dict[str, _Kept] = field(default_factory=dict)

    def routes(self) -> list[Route]:
        """The resource's routes."""
        return [
            route
            for place in _PLACES
            for route in (
                Route(place, self.create, methods=["POST"]),
                # An id may hold any character, escaped: a slash too.
                Route(place + "/{id:path}/cancel", self.cancel, methods=["POST"]),
                Route(place + "/{id:path}", self.get, methods=["GET"]),
                Route(place + "/{id:path}", self.delete, methods=["DELETE"]),
            )
        ]

    async def create(self, request: Request) -> Response:
        """Take a call, and answer with its id."""
        try:
            body = await request.body()
            asked, fields = _asked(shown_credential(request), body), _body(body)
            tier = asked_tier(request, fields.get("service_tier"), background=True)
        except RequestRefused as refused:
            return refused.word_response()
        await self.calls.note(asked.model, request)
        rule = self.faults.take(asked.model, asked.text) or _SOUND
        refuse = WORD_REFUSALS.get(rule.kind)
        if refuse is not None:
            return refuse(rule, f"{asked.credential} {asked.text}")
        try:
            labels = fields.get("labels") or {}
            call_id, kept = f"v1_{uuid.uuid4().hex}", self._taken(rule, asked, tier, labels)
        except RequestRefused as refused:
            return refused.word_response()
        self.kept[call_id] = kept
        told = announcement(
            fields.get("webhook_config"),
            call_id,
            lambda: kept.ended_as,
            asked.model,
            asked.text,
        )
        if told is not None:
            await self.webhooks.announce(told)
        deliver = DELIVERIES.get(rule.kind)
        whole = JSONResponse({**kept.document(call_id), "status": "in_progress"})
        return deliver(rule, whole) if deliver else whole

    def _taken(
        self,
        rule: FaultRule,
        asked: GenerateRequest,
        tier: ServiceTier,
        labels: Mapping[str, str],
    ) -> _Kept:
        never = rule.kind is FaultKind.CALL_NEVER_ENDS
        work = self.tiers.take(tier, float("inf") if never else self.latency_seconds)
        if rule.kind not in _UNBILLED:
            self.calls.answered[asked.model] += 1
        told = {"service_tier": str(work.tier)}
        named = {} if tier is work.tier is ServiceTier.STANDARD else told
        return _Kept(
            model=asked.model,
            work=work,
            outcome={**named, **_outcome(rule, asked)},
            evicted_as={**named, **_failed("overloaded", rule)},
            labels=labels,
        )

    async def get(self, request: Request) -> Response:
        """Answer with the call as it stands."""
        return self._answer(Asked.GET, request, lambda call_id, kept: kept.document(call_id))

    async def delete(self, request: Request) -> Response:
        """Keep nothing of the call any more."""

        def drop(call_id: str, _: _Kept) -> dict[str, Any]:
            del self.kept[call_id]
            return {}

        return self._answer(Asked.DELETE, request, drop)

    async def cancel(self, request: Request) -> Response:
        """Stop a call that is under way."""

        def stop(call_id: str, kept: _Kept) -> dict[str, Any]:
            if kept.ended:
                raise RequestRefused(
                    HTTPStatus.BAD_REQUEST, "FAILED_PRECONDITION", "it has ended"
                )
            kept.cancelled = True
            return kept.document(call_id)

        return self._answer(Asked.CANCEL, request, stop)

    def _answer(
        self, at: Asked, request: Request, act: Callable[[str, _Kept], dict[str, Any]]
    ) -> Response:
        rule = self.faults.take(request.path_params["id"], at=at)
        if rule is not None:
            return WORD_REFUSALS[rule.kind](rule, request.path_params["id"])
        try:
            shown_credential(request)
            return JSONResponse(act(*self._found(request.path_params["id"])))
        except RequestRefused as refused:
            return refused.word_response()

    def _found(self, call_id: str) -> tuple[str, _Kept]:
        if call_id not in self.kept:
            raise RequestRefused(HTTPStatus.NOT_FOUND, "NOT_FOUND", "no such interaction")
        return call_id, self.kept[call_id]


def _outcome(rule: FaultRule, asked: GenerateRequest) -> dict[str, Any]:
    """The generateContent answer to the same request, in this resource's form."""
    if rule.kind is FaultKind.CALL_FAILS:
        return _failed("internal_error", rule)
    say = ANSWERS.get(rule.kind, ANSWERS[FaultKind.NONE])
    answer = served(say(rule, asked), rule)
    blocked = answer.get("promptFeedback", {}).get("blockReason")
    candidate: Mapping[str, Any] = next(iter(answer.get("candidates", [])), {})
    reason = blocked or candidate.get("finishReason", "STOP")
    if reason not in _STATUSES:
        return _failed(reason, rule)
    texts = [part["text"] for part in candidate.get("content", {}).get("parts", [])]
    ended = {"status": rule.reason} if rule.kind is FaultKind.CALL_ENDS else {}
    return {
        "status": _STATUSES[reason],
        "steps": [
            {"type": "thought", "signature": "c2lnbmF0dXJl"},
            {
                "type": "model_output",
                "content": [{"type": "text", "text": text} for text in texts],
            },
        ],
        "usage": _usage(answer["usageMetadata"]),
        **ended,
        **_served_by(rule),
    }


_COUNTS = {
    "promptTokenCount": "total_input_tokens",
    "candidatesTokenCount": "total_output_tokens",
    "thoughtsTokenCount": "total_thought_tokens",
    "totalTokenCount": "total_tokens",
    "cachedContentTokenCount": "total_cached_tokens",
    "toolUsePromptTokenCount": "total_tool_use_tokens",
}


def _usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    return {theirs: usage[ours] for ours, theirs in _COUNTS.items() if ours in usage}


def _served_by(rule: FaultRule) -> dict[str, Any]:
    model = {"model": rule.model_version} if rule.model_version else {}
    return {**model, **({"service_tier": rule.tier} if rule.tier else {})}


def _failed(reason: str, rule: FaultRule) -> dict[str, Any]:
    usage = {} if rule.usage is None else {"usage": _usage(rule.usage)}
    return {
        "status": "failed",
        "errors": [{"code": f"https://ai.google.dev/errors/{reason.lower()}", "message": "…"}],
        **usage,
    }


def _asked(credential: str, data: bytes) -> GenerateRequest:
    """The call as a generateContent request.

    Raises:
        RequestRefused: as the provider would.
    """
    body = _body(data)
    config = body.get("generation_config") or {}
    if unknown := config.keys() - _GENERATION_CONFIG:
        raise _bad(f"unknown names {sorted(unknown)}")
    asked = GenerateRequest(
        model=str(body.get("model")),
        credential=credential,
        body={
            "contents": [_content(step) for step in body["input"]],
            "systemInstruction": {"parts": [{"text": body.get("system_instruction", "")}]},
            "generationConfig": {
                "responseJsonSchema": body.get("response_format", {}).get("schema", {}),
                "maxOutputTokens": config.get("max_output_tokens"),
                "thinkingConfig": config.get("thinking_level"),
            },
        },
    )
    if not asked.model.startswith("gemini-"):
        raise RequestRefused(HTTPStatus.NOT_FOUND, "NOT_FOUND", "no such model")
    for image in asked.images:
        check_image(image)
    return asked


_GENERATION_CONFIG = frozenset(
    {
        "temperature",
        "top_p",
        "seed",
        "stop_sequences",
        "max_output_tokens",
        "thinking_level",
        "thinking_summaries",
    }
)


def _body(data: bytes) -> dict[str, Any]:
    try:
        body = json.loads(data)
    except ValueError:
        raise _bad("not JSON") from None
    if not isinstance(body, dict) or not isinstance(body.get("input"), list):
        raise _bad("no input")
    if not (body.get("background") and body.get("store")):
        raise _bad("the stand-in knows calls in the background alone, which are stored")
    return body


def _bad(message: str) -> RequestRefused:
    return RequestRefused(HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", message)


def _content(step: Any) -> dict[str, Any]:
    if not isinstance(step, dict) or step.get("type") not in _ROLES:
        raise _bad("a step is neither the user's input nor the model's output")
    return {
        "role": _ROLES[step["type"]],
        "parts": [_part(content) for content in step.get("content", [])],
    }


def _part(content: Mapping[str, Any]) -> dict[str, Any]:
    if content.get("type") == "text":
        return {"text": content["text"]}
    return {"inlineData": {"data": content["data"], "mimeType": content["mime_type"]}}
