"""Gemini behind the LanguageModel port; one constructor differs between its two backends."""

import asyncio

from google.genai import Client, types
from google.oauth2.credentials import Credentials

from executor.adapters.gemini_answer import parse_answer
from executor.adapters.gemini_errors import classify
from executor.ports import ModelAnswer, ModelRequest
from executor.settings import Backend, GeminiSettings
from shared.ports import Clock

#: The Developer API refuses a shorter server timeout with 400.
_MIN_SERVER_TIMEOUT_SECONDS = 10
_API_VERSION = {Backend.AI_STUDIO: "v1", Backend.VERTEX: "v1beta1"}


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

    def __init__(self, client: Client, clock: Clock) -> None:
        self.client = client
        self._clock = clock

    async def generate(self, request: ModelRequest, *, timeout_seconds: float) -> ModelAnswer:
        """One HTTP request, cut off by the wall clock; see the port."""
        try:
            # The library's own timeout starts anew with every byte that arrives.
            async with asyncio.timeout(timeout_seconds):
                body = await self._send(request, timeout_seconds)
            return parse_answer(body)
        except Exception as failure:  # noqa: BLE001 - the table has a row for each
            # Not chained: its text can quote the request or the answer.
            raise classify(failure, now=self._clock.now()) from None

    async def aclose(self) -> None:
        """Close the connections."""
        await self.client.aio.aclose()

    async def _send(self, request: ModelRequest, timeout_seconds: float) -> str:
        response = await self.client.aio.models.generate_content(
            model=request.profile.model_name,
            contents=_contents(request),
            config=_config(request, timeout_seconds),
        )
        raw = response.sdk_http_response
        return (raw and raw.body) or ""


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


def _config(request: ModelRequest, timeout_seconds: float) -> types.GenerateContentConfig:
    profile = request.profile
    thinking = profile.thinking_config
    server_timeout = max(_MIN_SERVER_TIMEOUT_SECONDS, int(timeout_seconds))
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
        # On, each makes several paid calls out of one.
        automatic_continuation=False,
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        should_return_http_response=True,
    )
