"""Gemini behind the BackgroundModel port: calls whose answers the provider keeps.

`store` is what makes an answer fetchable: prompt, images and answer stay at the provider
until they are deleted there (https://ai.google.dev/gemini-api/docs/background-execution).
"""

import asyncio
import base64
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from http import HTTPStatus
from typing import Any, TypeVar
from urllib.parse import quote

import httpx2

from executor.adapters.error_answer import AnsweredWithError
from executor.adapters.gemini_errors import classify
from executor.adapters.interaction_answer import (
    BROKEN_OFF_WORDS,
    parse_id,
    parse_interaction,
    parse_kept,
)
from executor.adapters.provider_client import ProviderClient, tier_headers, with_fresh_token
from executor.contract.profile import LlmProfile
from executor.contract.tiers import ServiceTier
from executor.ports import (
    CallFailed,
    CallForgotten,
    CallState,
    KeptCall,
    ModelAnswer,
    ModelRequest,
)
from shared.domain.errors import LlmSafetyBlock, StepError
from shared.ports import Clock

#: What the provider says of an id that it does not know, or no longer.
_UNKNOWN = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_TIER_HEADER = "x-gemini-service-tier"

_T = TypeVar("_T")


class GeminiInteractions:
    """Implements the BackgroundModel port."""

    def __init__(self, client: ProviderClient, clock: Clock) -> None:
        # The first access imports some 24 MiB, so only those who want interactions have it.
        self._requests: Any = client.aio.interactions.with_raw_response
        # It closes its connections once nobody refers to it.
        self._client = client
        self._clock = clock

    async def begin(self, request: ModelRequest, *, timeout_seconds: float) -> str:
        """One HTTP request; see the port."""
        headers = tier_headers(request.service_tier, vertex=bool(self._client.vertexai))
        create = partial(
            self._requests.create, **_create_fields(request), extra_headers=headers or None
        )
        return await self._answer(create, lambda body, _: parse_id(body), timeout_seconds)

    async def fetch(self, call_id: str, *, timeout_seconds: float) -> CallState:
        """One HTTP request; see the port."""
        try:
            return await self._send(
                lambda: self._requests.get(_escaped(call_id)),
                _parse_interaction,
                timeout_seconds,
            )
        except Exception as failure:  # noqa: BLE001 - the table has a row for each
            return self._state(_cause(failure))

    async def describe(self, call_id: str, *, timeout_seconds: float) -> KeptCall | None:
        """One HTTP request; see the port."""
        try:
            return await self._answer(
                lambda: self._requests.get(_escaped(call_id)),
                lambda body, _: parse_kept(body),
                timeout_seconds,
            )
        except StepError as error:
            if _is_unknown(error):
                return None
            raise

    async def stop(self, call_id: str, *, timeout_seconds: float) -> None:
        """One HTTP request; see the port."""
        if problem := await self._stopped(call_id, timeout_seconds):
            raise problem

    async def forget(self, call_id: str, *, ended: bool, timeout_seconds: float) -> None:
        """One HTTP request, or two; see the port."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + timeout_seconds
        # Also where it cannot be stopped, what is kept of it can be deleted.
        problem = None if ended else await self._stopped(call_id, timeout_seconds / 2)
        try:
            await self._answer(
                lambda: self._requests.delete(_escaped(call_id)),
                lambda *_: None,
                ends_at - loop.time(),
            )
        except StepError as error:
            if not _is_unknown(error):
                raise
        if problem is not None:
            raise problem

    async def _stopped(self, call_id: str, timeout_seconds: float) -> StepError | None:
        """Stop the call; why that failed, unless it has ended or is not known."""
        try:
            await self._answer(
                lambda: self._requests.cancel(_escaped(call_id)),
                lambda *_: None,
                timeout_seconds,
            )
        except StepError as error:
            harmless = {*_UNKNOWN, HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT}
            return None if error.details.get("httpStatus") in harmless else error
        return None

    def _state(self, failure: Exception) -> CallState:
        """What an error says of the call, where it says anything.

        Raises:
            StepError: it does not.
        """
        error = classify(failure, now=self._clock.now())
        if isinstance(failure, AnsweredWithError):
            if failure.answer.status_code in _UNKNOWN:
                return CallForgotten()
            if failure.answer.word in BROKEN_OFF_WORDS:
                return _broken_off(failure.answer.word)
        if isinstance(error, LlmSafetyBlock):
            # The call had begun, and what it took is not said.
            error.maybe_billed = True
            return CallFailed(error)
        # Not chained: its text can quote the request or the answer.
        raise error from None

    async def _answer(
        self,
        request: Callable[[], Coroutine[Any, Any, Any]],
        parse: Callable[[str, str | None], _T],
        timeout_seconds: float,
    ) -> _T:
        try:
            return await self._send(request, parse, timeout_seconds)
        except Exception as failure:  # noqa: BLE001 - the table has a row for each
            # Not chained: its text can quote the request or the answer.
            raise classify(_cause(failure), now=self._clock.now()) from None

    async def _send(
        self,
        request: Callable[[], Coroutine[Any, Any, Any]],
        parse: Callable[[str, str | None], _T],
        timeout_seconds: float,
    ) -> _T:
        # The library's own timeout starts anew with every byte that arrives.
        async with asyncio.timeout(timeout_seconds):
            response = await with_fresh_token(self._client, request)
            body: str = await response.text()
        return parse(body, response.headers.get(_TIER_HEADER))


def _parse_interaction(body: str, tier: str | None) -> CallState:
    return parse_interaction(body, tier=tier)


def _broken_off(word: str) -> ModelAnswer:
    """An answer that broke off, of which nothing is kept to read."""
    return ModelAnswer(
        text=None,
        finish_reason=word,
        block_reason=None,
        model_version=None,
        response_id=None,
        usage=None,
    )


def _escaped(call_id: str) -> str:
    """The id as one segment of a path: the library puts it there as it is."""
    return quote(call_id, safe="")


def _is_unknown(error: StepError) -> bool:
    return error.details.get("httpStatus") in _UNKNOWN


def _cause(failure: Exception) -> Exception:
    """The transport's failure, in whatever class of its own the library wraps it."""
    cause = failure.__cause__
    return cause if isinstance(cause, httpx2.HTTPError) else failure


def _create_fields(request: ModelRequest) -> dict[str, Any]:
    usual = request.service_tier is ServiceTier.STANDARD
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
        "labels": dict(request.labels) or None,
        "service_tier": None if usual else str(request.service_tier),
        "webhook_config": {"uris": [request.hook_url]} if request.hook_url else None,
        "background": True,
        "store": True,
    }
    return _present(fields)


def _input(request: ModelRequest) -> list[dict[str, Any]]:
    resolution = request.media_resolution and str(request.media_resolution)
    images = [
        _present(
            {
                "type": "image",
                "mime_type": image.mime_type,
                "data": base64.b64encode(image.data).decode("ascii"),
                "resolution": resolution,
            }
        )
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
