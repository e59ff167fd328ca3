"""The HTTP side of the Gemini stand-in."""

import asyncio
import base64
import binascii
import hashlib
import html
import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from executor.images import image_type
from infra.local.gemini.answers import answer_for

_TOKENS_PER_IMAGE = 258
_CHARS_PER_TOKEN = 4
_MIN_SERVER_TIMEOUT_SECONDS = 10
_CONTENT = re.compile(r"<content>\n(.*?)\n</content>", re.DOTALL)
_CANDLES = {"open", "high", "low", "close"}


class _Refused(Exception):
    def __init__(self, code: HTTPStatus, status: str, message: str) -> None:
        super().__init__(message)
        self.code, self.status, self.message = code, status, message

    def response(self) -> JSONResponse:
        error = {"code": self.code.value, "message": self.message, "status": self.status}
        return JSONResponse({"error": error}, status_code=self.code)


def create_app(*, latency_seconds: float = 0.2) -> Starlette:
    """The stand-in; it answers after this latency."""

    async def generate(request: Request) -> JSONResponse:
        try:
            _check_credentials(request)
            model = _model(request)
            body = await _body(request)
            answer = _answer(model, body)
        except _Refused as refusal:
            return refusal.response()
        await asyncio.sleep(latency_seconds)
        return JSONResponse(answer)

    vertex = "/{version}/projects/{project}/locations/{location}/publishers/google/models/"
    return Starlette(
        routes=[
            Route("/{version}/models/{call}", generate, methods=["POST"]),
            Route(vertex + "{call}", generate, methods=["POST"]),
        ]
    )


def _check_credentials(request: Request) -> None:
    if "project" in request.path_params:
        if not request.headers.get("authorization", "").startswith("Bearer "):
            raise _Refused(HTTPStatus.UNAUTHORIZED, "UNAUTHENTICATED", "no bearer token")
        return
    if not request.headers.get("x-goog-api-key"):
        raise _Refused(HTTPStatus.FORBIDDEN, "PERMISSION_DENIED", "no API key")
    timeout = request.headers.get("x-server-timeout")
    if timeout is not None and float(timeout) < _MIN_SERVER_TIMEOUT_SECONDS:
        raise _Refused(HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", "deadline below 10 s")


def _model(request: Request) -> str:
    model, _, method = request.path_params["call"].partition(":")
    if method != "generateContent" or not model.startswith("gemini-"):
        raise _Refused(HTTPStatus.NOT_FOUND, "NOT_FOUND", "no such model or method")
    return str(model)


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = _camel(json.loads(await request.body()))
    except ValueError:
        raise _Refused(HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", "not JSON") from None
    if not isinstance(body, dict) or not body.get("contents"):
        raise _Refused(HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", "no contents")
    return body


def _camel(value: Any, *, schema: bool = False) -> Any:
    # The wire mixes both spellings; the words of a schema are the caller's own.
    if schema:
        return value
    if isinstance(value, list):
        return [_camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    renamed = {re.sub(r"_([a-z])", lambda m: m[1].upper(), key): key for key in value}
    return {
        name: _camel(value[key], schema=name in {"responseJsonSchema", "responseSchema"})
        for name, key in renamed.items()
    }


def _answer(model: str, body: Mapping[str, Any]) -> dict[str, Any]:
    parts = [part for content in body["contents"] for part in content.get("parts", [])]
    text = "\n".join(part["text"] for part in parts if "text" in part)
    images = [part["inlineData"] for part in parts if "inlineData" in part]
    for image in images:
        _check_image(image)
    config = body.get("generationConfig") or {}
    schema = config.get("responseJsonSchema") or config.get("responseSchema") or {}
    seed = int.from_bytes(
        hashlib.sha256(json.dumps(body, sort_keys=True).encode()).digest()[:8]
    )
    value = answer_for(schema, seed=seed, markdown=_markdown(text, len(images)))
    answer = json.dumps(value, ensure_ascii=False)
    cap = int(config.get("maxOutputTokens") or len(answer)) * _CHARS_PER_TOKEN
    prompt_tokens = len(text) // _CHARS_PER_TOKEN + _TOKENS_PER_IMAGE * len(images)
    answer_tokens = min(len(answer), cap) // _CHARS_PER_TOKEN
    thoughts = 64 if config.get("thinkingConfig") else 0
    usage = {
        "promptTokenCount": prompt_tokens,
        "candidatesTokenCount": answer_tokens,
        "totalTokenCount": prompt_tokens + answer_tokens + thoughts,
        **({"thoughtsTokenCount": thoughts} if thoughts else {}),
    }
    return {
        "candidates": [
            {
                "index": 0,
                "content": {"role": "model", "parts": [{"text": answer[:cap]}]},
                "finishReason": "STOP" if len(answer) <= cap else "MAX_TOKENS",
            }
        ],
        "usageMetadata": usage,
        "modelVersion": f"{model}-stand-in",
        "responseId": f"{seed:016x}",
    }


def _check_image(image: Mapping[str, Any]) -> None:
    encoded = str(image.get("data", "")).replace("-", "+").replace("_", "/")
    try:
        data = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except binascii.Error:
        raise _Refused(HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", "bad base64") from None
    if image_type(data) != image.get("mimeType"):
        raise _Refused(HTTPStatus.BAD_REQUEST, "INVALID_ARGUMENT", "bytes are no such image")


def _markdown(text: str, images: int) -> str:
    candles = _candles(text)
    lines = ["# Technical report", "", "*Written by the local stand-in, not by a model.*", ""]
    if candles:
        first, last = candles[0], candles[-1]
        change = (last["close"] / first["close"] - 1) * 100 if first["close"] else 0.0
        lines += [
            "## Price",
            "",
            f"- {len(candles)} candles, last close {last['close']:g} ({change:+.1f} %)",
            f"- high {max(candle['high'] for candle in candles):g}",
            f"- low {min(candle['low'] for candle in candles):g}",
            f"- trend: {'up' if change > 0 else 'down'}",
            "",
        ]
    lines += ["## Charts", "", f"{images} chart images were looked at."]
    return "\n".join(lines)


def _candles(text: str) -> list[dict[str, float]]:
    for content in _CONTENT.findall(text):
        try:
            value = json.loads(html.unescape(content))
        except ValueError:
            continue
        candles = value.get("candles") if isinstance(value, dict) else None
        if candles and all(isinstance(c, dict) and c.keys() >= _CANDLES for c in candles):
            return list(candles)
    return []
