"""The resource `interactions`: calls in the background, kept until they are deleted.

A call is billed when it is taken, as the model then works on it whether or not anybody comes
for the answer. https://ai.google.dev/api/interactions-api
"""

import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from infra.local.gemini.calls import Calls
from infra.local.gemini.fault_answers import ANSWERS, DELIVERIES, REFUSALS
from infra.local.gemini.faults import FaultKind, FaultRule, Faults
from infra.local.gemini.requests import (
    GenerateRequest,
    Refused,
    check_image,
    shown_credential,
)

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
    ends_at: float
    outcome: Mapping[str, Any]
    cancelled: bool = False

    @property
    def ended(self) -> bool:
        return self.cancelled or time.monotonic() >= self.ends_at

    def document(self, call_id: str) -> dict[str, Any]:
        seen: Mapping[str, Any] = {"status": "in_progress"}
        if self.cancelled:
            seen = {"status": "cancelled"}
        elif self.ended:
            seen = self.outcome
        return {"id": call_id, "object": "interaction", "model": self.model, **seen}


@dataclass(slots=True, kw_only=True)
class Interactions:
    """Background calls of all models, on both backends' paths."""

    faults: Faults
    calls: Calls
    latency_seconds: float
    #: Faults of the requests that look for an answer.
    fetch_faults: Faults = field(default_factory=Faults)
    kept: dict[str, _Kept] = field(default_factory=dict)

    def routes(self) -> list[Route]:
        """The resource's routes."""
        return [
            route
            for place in _PLACES
            for route in (
                Route(place, self.create, methods=["POST"]),
                Route(place + "/{id}", self.get, methods=["GET"]),
                Route(place + "/{id}", self.delete, methods=["DELETE"]),
                Route(place + "/{id}/cancel", self.cancel, methods=["POST"]),
            )
        ]

    async def create(self, request: Request) -> Response:
        """Take a call, and answer with its id."""
        try:
            asked = _asked(shown_credential(request), await request.body())
        except Refused as refused:
            return refused.response()
        await self.calls.note(asked.model, request)
        rule = self.faults.take(asked.model, asked.text) or _SOUND
        refuse = REFUSALS.get(rule.kind)
        if refuse is not None:
            return refuse(rule, f"{asked.credential} {asked.text}")
        call_id, kept = f"v1_{uuid.uuid4().hex}", self._taken(rule, asked)
        self.kept[call_id] = kept
        deliver = DELIVERIES.get(rule.kind)
        whole = JSONResponse({**kept.document(call_id), "status": "in_progress"})
        return deliver(rule, whole) if deliver else whole

    def _taken(self, rule: FaultRule, asked: GenerateRequest) -> _Kept:
        if rule.kind not in _UNBILLED:
            self.calls.answered[asked.model] += 1
        never = rule.kind is FaultKind.CALL_NEVER_ENDS
        return _Kept(
            model=asked.model,
            ends_at=float("inf") if never else time.monotonic() + self.latency_seconds,
            outcome=_outcome(rule, asked),
        )

    async def get(self, request: Request) -> Response:
        """Answer with the call as it stands."""
        rule = self.fetch_faults.take("")
        if rule is not None:
            return REFUSALS[rule.kind](rule, request.path_params["id"])
        return self._answer(request, lambda call_id, kept: kept.document(call_id))

    async def delete(self, request: Request) -> Response:
        """Keep nothing of the call any more."""

        def drop(call_id: str, _: _Kept) -> dict[str, Any]:
            del self.kept[call_id]
            return {}

        return self._answer(request, drop)

    async def cancel(self, request: Request) -> Response:
        """Stop a call that is under way."""

        def stop(call_id: str, kept: _Kept) -> dict[str, Any]:
            if kept.ended:
                raise Refused(HTTPStatus.BAD_REQUEST, "FAILED_PRECONDITION", "it has ended")
            kept.cancelled = True
            return kept.document(call_id)

        return self._answer(request, stop)

    def _answer(
        self, request: Request, act: Callable[[str, _Kept], dict[str, Any]]
    ) -> Response:
        try:
            shown_credential(request)
            return JSONResponse(act(*self._found(request.path_params["id"])))
        except Refused as refused:
            return refused.response()

    def _found(self, call_id: str) -> tuple[str, _Kept]:
        if call_id not in self.kept:
            raise Refused(HTTPStatus.NOT_FOUND, "NOT_FOUND", "no such interaction")
        return call_id, self.kept[call_id]


def _outcome(rule: FaultRule, asked: GenerateRequest) -> dict[str, Any]:
    """The generateContent answer to the same request, in this resource's form."""
    if rule.kind is FaultKind.CALL_FAILS:
        return _failed("internal_error")
    answer = ANSWERS.get(rule.kind, ANSWERS[FaultKind.NONE])(rule, asked)
    blocked = answer.get("promptFeedback", {}).get("blockReason")
    candidate: Mapping[str, Any] = next(iter(answer.get("candidates", [])), {})
    reason = blocked or candidate.get("finishReason", "STOP")
    if reason not in _STATUSES:
        return _failed(reason)
    texts = [part["text"] for part in candidate.get("content", {}).get("parts", [])]
    usage = answer["usageMetadata"]
    return {
        "status": _STATUSES[reason],
        "steps": [
            {"type": "thought", "signature": "c2lnbmF0dXJl"},
            {
                "type": "model_output",
                "content": [{"type": "text", "text": text} for text in texts],
            },
        ],
        "usage": {
            "total_input_tokens": usage["promptTokenCount"],
            "total_output_tokens": usage["candidatesTokenCount"],
            "total_thought_tokens": usage.get("thoughtsTokenCount", 0),
            "total_tokens": usage["totalTokenCount"],
        },
    }


def _failed(reason: str) -> dict[str, Any]:
    return {
        "status": "failed",
        "errors": [{"code": f"https://ai.google.dev/errors/{reason.lower()}", "message": "…"}],
    }


def _asked(credential: str, data: bytes) -> GenerateRequest:
    """The call as a generateContent request.

    Raises:
        Refused: as the provider would.
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
        raise Refused(HTTPStatus.NOT_FOUND, "NOT_FOUND", "no such model")
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


def _bad(message: str) -> Refused:
    return Refused(HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", message)


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
