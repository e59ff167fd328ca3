"""The model as the simulation has it: its answer repeats which inputs it was shown."""

import json
import re
from datetime import timedelta
from random import Random
from typing import NoReturn

from executor.ports import ModelAnswer, ModelRequest
from shared.domain.errors import GeminiRequestFailed, LlmProfileInvalid, RateLimited

#: This text stands in everything that is secret: prompt, context, model text and key. Nothing
#: may repeat it.
CANARY = "CANARY"
_MARKER = re.compile(r'"marker":"([^"]+)"')


def marker_of(request: ModelRequest) -> str:
    """Which inputs the request shows: their run, step and version."""
    found = _MARKER.search(request.user_text)
    return found[1] if found else "?"


def thinking_seconds(draw: Random) -> float:
    """How long a call lasts: mostly seconds, seldom many minutes."""
    return draw.uniform(2, 30) if draw.random() < 0.9 else draw.uniform(30, 400)


def slow_tier_seconds(draw: Random) -> float:
    """How long a call at a slow tier lasts: minutes, or longer than any step waits for it."""
    return draw.uniform(30, 900) if draw.random() < 0.5 else draw.uniform(900, 1_500)


async def good_answer(request: ModelRequest) -> ModelAnswer:
    """A report on what the request shows."""
    output = {
        "summary": {"markdown": f"{CANARY} of the model"},
        "details": {"marker": marker_of(request)},
    }
    return _answer(json.dumps(output))


async def invalid_answer() -> ModelAnswer:
    """An answer that was cut off."""
    return _answer(f'{{"summary": {{"markdown": "{CANARY}', finish_reason="MAX_TOKENS")


async def blocked_answer() -> ModelAnswer:
    """An answer that says why there is none."""
    return _answer(None, finish_reason="SAFETY")


async def rate_limited() -> ModelAnswer:
    """Refuse with a rate limit, and say how long to wait.

    Raises:
        RateLimited: always.
    """
    raise RateLimited("simulated", retry_after=timedelta(seconds=20))


async def unfit_request() -> NoReturn:
    """Refuse what the request asks for.

    Raises:
        LlmProfileInvalid: always.
    """
    raise LlmProfileInvalid("INVALID_ARGUMENT: simulated")


def unanswered() -> GeminiRequestFailed:
    """The error of a call that got no answer, although the model may have worked on it."""
    return GeminiRequestFailed("simulated", maybe_billed=True)


def _answer(text: str | None, *, finish_reason: str = "STOP") -> ModelAnswer:
    return ModelAnswer(
        text=text,
        finish_reason=finish_reason,
        block_reason=None,
        model_version="simulated-1",
        response_id="r",
        usage={"totalTokenCount": 12},
    )
