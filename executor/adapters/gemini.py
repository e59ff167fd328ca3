"""Gemini behind the LanguageModel port, by `generateContent`."""

import asyncio

from google.genai import types

from executor.adapters.gemini_answer import parse_answer
from executor.adapters.gemini_errors import classify
from executor.adapters.provider_client import ProviderClient, tier_headers, with_fresh_token
from executor.contract.tiers import ServiceTier
from executor.ports import ModelAnswer, ModelRequest
from shared.ports import Clock

#: The Developer API refuses a shorter server timeout with 400.
_MIN_SERVER_TIMEOUT_SECONDS = 10
#: The tier at which the Developer API served a call.
_TIER_HEADER = "x-gemini-service-tier"


class GeminiModel:
    """Implements the LanguageModel port."""

    def __init__(self, client: ProviderClient, clock: Clock) -> None:
        self.client = client
        self._clock = clock

    async def generate(self, request: ModelRequest, *, timeout_seconds: float) -> ModelAnswer:
        """One HTTP request, cut off by the wall clock; see the port."""
        try:
            # The library's own timeout starts anew with every byte that arrives.
            async with asyncio.timeout(timeout_seconds):
                answer = await with_fresh_token(
                    self.client, lambda: self._send(request, timeout_seconds)
                )
            return parse_answer(answer.body or "", tier=_tier(answer))
        except Exception as failure:  # noqa: BLE001 - the table has a row for each
            # Not chained: its text can quote the request or the answer.
            raise classify(failure, now=self._clock.now()) from None

    async def aclose(self) -> None:
        """Close the connections."""
        await self.client.aio.aclose()

    async def _send(self, request: ModelRequest, timeout_seconds: float) -> types.HttpResponse:
        response = await self.client.aio.models.generate_content(
            model=request.profile.model_name,
            contents=_contents(request),
            config=_config(request, timeout_seconds, vertex=bool(self.client.vertexai)),
        )
        return response.sdk_http_response or types.HttpResponse()


def _tier(answer: types.HttpResponse) -> str | None:
    headers = {name.lower(): value for name, value in (answer.headers or {}).items()}
    return headers.get(_TIER_HEADER)


def _contents(request: ModelRequest) -> list[types.Content]:
    images = [
        types.Part.from_bytes(data=image.data, mime_type=image.mime_type)
        for image in request.images
    ]
    asked = types.Content(role="user", parts=[_text(request.user_text), *images])
    correction = request.correction
    if correction is None:
        return [asked]
    if correction.former_text is None:
        parts = [*(asked.parts or []), _text(correction.instruction)]
        return [types.Content(role="user", parts=parts)]
    return [
        asked,
        types.Content(role="model", parts=[_text(correction.former_text)]),
        types.Content(role="user", parts=[_text(correction.instruction)]),
    ]


def _text(text: str) -> types.Part:
    return types.Part.from_text(text=text)


def _config(
    request: ModelRequest, timeout_seconds: float, *, vertex: bool
) -> types.GenerateContentConfig:
    profile, tier = request.profile, request.service_tier
    thinking = profile.thinking_config
    server_timeout = max(_MIN_SERVER_TIMEOUT_SECONDS, int(timeout_seconds))
    return types.GenerateContentConfig(
        http_options=types.HttpOptions(
            headers={
                "X-Server-Timeout": str(server_timeout),
                **tier_headers(tier, vertex=vertex),
            }
        ),
        service_tier=None
        if vertex or tier is ServiceTier.STANDARD
        else types.ServiceTier(str(tier)),
        labels=dict(request.labels) or None,
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
        media_resolution=request.media_resolution
        and types.MediaResolution(f"MEDIA_RESOLUTION_{request.media_resolution.name}"),
        # On, each makes several paid calls out of one.
        automatic_continuation=False,
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        should_return_http_response=True,
    )
