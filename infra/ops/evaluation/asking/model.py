"""Which model is asked: the real one with the author's own key, or a stand-in."""

import json
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.failures import CannotBeDone
from infra.local.gemini.effects import Effect, effects_in
from infra.local.processes.functions import function_environ
from infra.local.serving.asgi import serve

#: Taken from the author's environment when the real model is called.
_MODEL_VARIABLES = (
    "GCP_PROJECT",
    "GEMINI_ALLOWED_MODELS",
    "GEMINI_API",
    "GEMINI_API_KEY",
    "GEMINI_BACKGROUND_TIMEOUT_SECONDS",
    "GEMINI_BASE_URL",
    "GEMINI_LOCATION",
    "GEMINI_MEDIA_RESOLUTION",
    "GEMINI_SERVICE_TIERS",
    "GEMINI_TIMEOUT_SECONDS",
    "MAX_OUTPUT_TOKENS",
)
#: What has no price costs nothing to state.
_PRICES = "MODEL_PRICES"
_STAND_IN_SECONDS = 0.02


class EffectsInvalid(CannotBeDone):
    """The file holds no planted effects; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedModel:
    """The executor's variables for a model."""

    environ: dict[str, str]
    #: Whether calls cost money.
    paid: bool


@asynccontextmanager
async def asked_model(
    backend: str | None, effects: Path | None = None
) -> AsyncIterator[AskedModel]:
    """The model that was asked for; without a key, a stand-in for as long as the block lasts.

    Args:
        backend: None lets the environment decide.
        effects: planted effects, which the stand-in plays.

    Raises:
        EffectsInvalid: the file holds none, or a real model would be asked.
        OSError: the file cannot be read.
    """
    given = {name: os.environ[name] for name in _MODEL_VARIABLES if name in os.environ}
    prices = {_PRICES: os.environ[_PRICES]} if _PRICES in os.environ else {}
    if backend or given.get("GEMINI_API_KEY"):
        if effects is not None:
            raise EffectsInvalid("--effects are the stand-in's: a real model plays none")
        environ = function_environ("local", gemini_url="")
        del environ["GEMINI_API_KEY"]
        named = {"GEMINI_BACKEND": backend or "ai_studio"}
        yield AskedModel(environ={**environ, **given, **prices, **named}, paid=True)
        return
    # Late: only where there is no model.
    from infra.local.gemini import create_app  # noqa: PLC0415

    planted = _planted(effects) if effects else []
    app = create_app(latency_seconds=_STAND_IN_SECONDS, effects=planted)
    async with serve(app, name="Gemini stand-in") as url:
        yield AskedModel(environ={**function_environ("local", url), **prices}, paid=False)


def _planted(path: Path) -> Sequence[Effect]:
    try:
        return effects_in(json.loads(path.read_bytes()))
    except (ValueError, RecursionError) as problem:
        raise EffectsInvalid(f"{path}: {problem}") from None
