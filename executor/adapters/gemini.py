"""Gemini behind the LanguageModel port; one constructor differs between its two backends."""

import asyncio
import json
import re
from collections.abc import Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any, NoReturn

import httpx2
from google.genai import Client, errors, types
from google.oauth2.credentials import Credentials
from pydantic import ValidationError

from executor.ports import ModelAnswer, ModelRequest
from executor.settings import Backend, GeminiSettings
from shared.domain.errors import GeminiRequestFailed, LlmProfileInvalid, RateLimited

#: The Developer API refuses a shorter server timeout with 400.
_MIN_SERVER_TIMEOUT_SECONDS = 10
_API_VERSION = {Backend.AI_STUDIO: "v1", Backend.VERTEX: "v1beta1"}
#: What the provider will refuse however often it is asked.
_REFUSED = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND})
_DURATION = re.compile(r"(\d+(?:\.\d+)?)s")


def make_client(settings: GeminiSettings, project: str) -> Client:
    """The SDK's client, without its own retries."""
    http_options = types.HttpOptions(
        base_url=settings.base_url,
        api_version=_API_VERSION[settings.backend],
        retry_options=types.HttpRetryOptions(attempts=1),
    )
    if settings.backend is Backend.AI_STUDIO:
        key = settings.api_key.get_secret_value() if settings.api_key else None
        return Client(vertexai=False, api_key=key, http_options=http_options)
    # Another server than Google's gets no real credentials.
    credentials = None
    if settings.base_url:
        credentials = Credentials(token="local")  # type: ignore[no-untyped-call]  # noqa: S106
    return Client(
        vertexai=True,
        project=project,
        location=settings.location,
        credentials=credentials,
        http_options=http_options,
    )


class GeminiModel:
    """Implements the LanguageModel port."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def generate(self, request: ModelRequest, *, timeout_seconds: float) -> ModelAnswer:
        """One HTTP request, cut off by the wall clock; see the port."""
        try:
            async with asyncio.timeout(timeout_seconds):
                response = await self._client.aio.models.generate_content(
                    model=request.profile.model_name,
                    contents=[_content(request)],
                    config=_config(request, timeout_seconds),
                )
        except TimeoutError:
            raise GeminiRequestFailed(f"no answer within {timeout_seconds:.0f} s") from None
        except errors.APIError as error:
            _raise_for(error)
        except httpx2.TransportError as error:
            raise GeminiRequestFailed(f"transport: {type(error).__name__}") from None
        except (json.JSONDecodeError, ValidationError, errors.UnknownApiResponseError):
            raise GeminiRequestFailed("the provider's envelope cannot be read") from None
        return _answer(response)


def _content(request: ModelRequest) -> types.Content:
    images = [
        types.Part.from_bytes(data=image.data, mime_type=image.mime_type)
        for image in request.images
    ]
    return types.Content(
        role="user", parts=[types.Part.from_text(text=request.user_text), *images]
    )


def _config(request: ModelRequest, timeout_seconds: float) -> types.GenerateContentConfig:
    profile = request.profile
    thinking = profile.thinking_config
    server_timeout = max(_MIN_SERVER_TIMEOUT_SECONDS, round(timeout_seconds))
    return types.GenerateContentConfig(
        http_options=types.HttpOptions(headers={"X-Server-Timeout": str(server_timeout)}),
        system_instruction=request.system_instruction or None,
        temperature=profile.temperature,
        top_p=profile.top_p,
        top_k=profile.top_k,
        max_output_tokens=profile.max_output_tokens,
        stop_sequences=profile.stop_sequences,
        candidate_count=profile.candidate_count,
        response_mime_type="application/json",
        response_json_schema=dict(request.json_schema),
        thinking_config=thinking
        and types.ThinkingConfig(
            include_thoughts=thinking.include_thoughts,
            thinking_level=thinking.thinking_level
            and types.ThinkingLevel(str(thinking.thinking_level)),
        ),
        # On, it makes several paid calls out of one.
        automatic_continuation=False,
    )


def _answer(response: types.GenerateContentResponse) -> ModelAnswer:
    candidate = response.candidates[0] if response.candidates else None
    parts = (candidate.content.parts or []) if candidate and candidate.content else []
    texts = [part.text for part in parts if part.text is not None and not part.thought]
    feedback = response.prompt_feedback
    ratings = (candidate.safety_ratings or []) if candidate else []
    return ModelAnswer(
        text="".join(texts) if texts else None,
        finish_reason=_value(candidate.finish_reason) if candidate else None,
        block_reason=_value(feedback.block_reason) if feedback else None,
        model_version=response.model_version,
        response_id=response.response_id,
        usage=_dump(response.usage_metadata),
        safety=[_dump(rating) or {} for rating in ratings],
    )


def _value(member: Any) -> str | None:
    return None if member is None else str(getattr(member, "value", member))[:64]


def _dump(model: Any) -> dict[str, Any] | None:
    if model is None:
        return None
    dumped: dict[str, Any] = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    return dumped


def _raise_for(error: errors.APIError) -> NoReturn:
    status = f"{error.code} {error.status or ''}".strip()[:64]
    if error.code == HTTPStatus.TOO_MANY_REQUESTS:
        raise RateLimited(f"the provider answered {status}", retry_after=_retry_after(error))
    if error.code in _REFUSED:
        raise LlmProfileInvalid(f"the provider refuses model or request: {status}")
    raise GeminiRequestFailed(f"the provider answered {status}")


def _retry_after(error: errors.APIError) -> timedelta | None:
    """The delay in google.rpc.RetryInfo, if the provider sent one."""
    envelope = error.details if isinstance(error.details, Mapping) else {}
    inner = envelope.get("error")
    details = inner.get("details") if isinstance(inner, Mapping) else None
    for detail in details if isinstance(details, list) else []:
        delay = detail.get("retryDelay") if isinstance(detail, Mapping) else None
        match = _DURATION.fullmatch(delay) if isinstance(delay, str) else None
        if match is not None:
            return timedelta(seconds=float(match[1]))
    return None
