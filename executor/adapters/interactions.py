"""Gemini behind the BackgroundModel port: calls whose answers the provider keeps.

`store` is what makes an answer fetchable: prompt, images and answer stay at the provider
until they are deleted there (https://ai.google.dev/gemini-api/docs/background-execution).
"""

import asyncio
import base64
from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import Any, TypeVar

import httpx2
from google.genai import Client, errors

from executor.adapters.gemini_errors import classify
from executor.adapters.interaction_answer import parse_id, parse_interaction
from executor.ports import CallForgotten, CallState, ModelRequest
from shared.domain.errors import StepError
from shared.domain.profile import LlmProfile
from shared.ports import Clock

#: What the provider says of an id that it does not know, or no longer.
_UNKNOWN = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.GONE})

_T = TypeVar("_T")


class GeminiInteractions:
    """Implements the BackgroundModel port."""

    def __init__(self, client: Client, clock: Clock) -> None:
        # The first access imports some 24 MiB, so only those who want interactions have it.
        self._requests: Any = client.aio.interactions.with_raw_response
        # It closes its connections once nobody refers to it.
        self._client = client
        self._clock = clock

    async def begin(self, request: ModelRequest, *, timeout_seconds: float) -> str:
        """One HTTP request; see the port."""
        created = self._requests.create(**_create_fields(request))
        return await self._answer(created, parse_id, timeout_seconds)

    async def fetch(self, call_id: str, *, timeout_seconds: float) -> CallState:
        """One HTTP request; see the port."""
        found = self._requests.get(call_id)
        try:
            return await self._answer(found, parse_interaction, timeout_seconds)
        except StepError as error:
            if _is_unknown(error):
                return CallForgotten()
            raise

    async def forget(self, call_id: str, *, ended: bool, timeout_seconds: float) -> None:
        """One HTTP request, or two; see the port."""
        if not ended:
            await self._ignoring_unknown(self._requests.cancel(call_id), timeout_seconds)
        await self._ignoring_unknown(self._requests.delete(call_id), timeout_seconds)

    async def _ignoring_unknown(
        self, sending: Coroutine[Any, Any, Any], timeout_seconds: float
    ) -> None:
        try:
            await self._answer(sending, str, timeout_seconds)
        except StepError as error:
            if not _is_unknown(error):
                raise

    async def _answer(
        self,
        sending: Coroutine[Any, Any, Any],
        parse: Callable[[str], _T],
        timeout_seconds: float,
    ) -> _T:
        try:
            # The library's own timeout starts anew with every byte that arrives.
            async with asyncio.timeout(timeout_seconds):
                response = await sending
                body: str = await response.text()
            return parse(body)
        except Exception as failure:  # noqa: BLE001 - the table has a row for each
            # Not chained: its text can quote the request or the answer.
            raise classify(_translated(failure), now=self._clock.now()) from None


def _is_unknown(error: StepError) -> bool:
    return error.details.get("httpStatus") in _UNKNOWN


def _translated(failure: Exception) -> Exception:
    """The failure in the classes of the library's older half, which the table knows.

    The classes of this half are in none of the library's public modules.
    """
    status, body = getattr(failure, "status_code", None), getattr(failure, "body", None)
    if isinstance(status, int):
        return errors.APIError(status, body if isinstance(body, dict) else {})
    cause = failure.__cause__
    return cause if isinstance(cause, httpx2.HTTPError) else failure


def _create_fields(request: ModelRequest) -> dict[str, Any]:
    fields = {
        "model": request.profile.model_name,
        "input": _input(request),
        "system_instruction": request.system_instruction or None,
        "response_format": {
            "type": "text",
            "mime_type": "application/json",
            "schema": dict(request.json_schema),
        },
        "generation_config": _generation_config(request.profile) or None,
        "background": True,
        "store": True,
    }
    return _present(fields)


def _input(request: ModelRequest) -> list[dict[str, Any]]:
    images = [
        {
            "type": "image",
            "mime_type": image.mime_type,
            "data": base64.b64encode(image.data).decode("ascii"),
        }
        for image in request.images
    ]
    asked = [_text(request.user_text), *images]
    correction = request.correction
    if correction is None:
        return [_step("user_input", asked)]
    if correction.former_text is None:
        return [_step("user_input", [*asked, _text(correction.instruction)])]
    return [
        _step("user_input", asked),
        _step("model_output", [_text(correction.former_text)]),
        _step("user_input", [_text(correction.instruction)]),
    ]


def _step(kind: str, content: list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": kind, "content": content}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _generation_config(profile: LlmProfile) -> dict[str, Any]:
    thinking = profile.thinking_config
    level = thinking and thinking.thinking_level
    include = thinking.include_thoughts if thinking else None
    return _present(
        {
            "temperature": profile.temperature,
            "top_p": profile.top_p,
            "max_output_tokens": profile.max_output_tokens,
            "stop_sequences": profile.stop_sequences,
            "thinking_level": level and str(level).lower(),
            "thinking_summaries": None if include is None else _SUMMARIES[include],
        }
    )


_SUMMARIES = {True: "auto", False: "none"}


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
