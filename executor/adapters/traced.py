"""Model calls with spans, by the conventions for generative AI. Loaded only where traced.

https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer

from executor.ports import (
    BackgroundModel,
    CallFailed,
    CallForgotten,
    CallRunning,
    CallState,
    KeptCall,
    LanguageModel,
    ModelAnswer,
    ModelRequest,
)
from executor.settings import Backend
from shared.adapters.tracing import AttributeValue, span

PROVIDERS = {Backend.AI_STUDIO: "gcp.gemini", Backend.VERTEX: "gcp.vertex_ai"}
_CALL_ID, _BACKGROUND = "gen_ai.response.id", "worker.background"
_STATES: Mapping[type[CallState], str] = {
    CallRunning: "running",
    ModelAnswer: "answered",
    CallFailed: "failed",
    CallForgotten: "forgotten",
}


class TracedModel:
    """Implements the LanguageModel port by another model, with a span for each call."""

    def __init__(self, model: LanguageModel, provider: str, tracer: Tracer) -> None:
        self._model = model
        self._provider = provider
        self._tracer = tracer

    async def generate(self, request: ModelRequest, *, timeout_seconds: float) -> ModelAnswer:
        """See the port."""
        name = f"generate_content {request.profile.model_name}"
        attributes = _request_attributes(request, self._provider)
        with span(self._tracer, name, SpanKind.CLIENT, attributes) as current:
            answer = await self._model.generate(request, timeout_seconds=timeout_seconds)
            current.set_attributes(_answer_attributes(answer))
            return answer


class TracedBackgroundModel:
    """Implements the BackgroundModel port by another, with a span for each request.

    A call is begun in one span and answered in another, perhaps of another process: the id of
    the call (`gen_ai.response.id`) is in both. Tokens are counted once, where the answer came.
    """

    def __init__(self, model: BackgroundModel, provider: str, tracer: Tracer) -> None:
        self._model = model
        self._provider = provider
        self._tracer = tracer

    async def begin(self, request: ModelRequest, *, timeout_seconds: float) -> str:
        """See the port."""
        name = f"generate_content {request.profile.model_name}"
        attributes = {**_request_attributes(request, self._provider), _BACKGROUND: True}
        with span(self._tracer, name, SpanKind.CLIENT, attributes) as current:
            call_id = await self._model.begin(request, timeout_seconds=timeout_seconds)
            current.set_attribute(_CALL_ID, call_id)
            return call_id

    async def fetch(self, call_id: str, *, timeout_seconds: float) -> CallState:
        """See the port."""
        with self._span("fetch_answer", call_id) as current:
            state = await self._model.fetch(call_id, timeout_seconds=timeout_seconds)
            match state:
                case ModelAnswer():
                    current.set_attributes(_answer_attributes(state))
                case CallFailed(error=error):
                    current.set_attribute("error.type", error.code)
                    current.set_status(StatusCode.ERROR)
            current.set_attribute("worker.call_state", _STATES[type(state)])
            return state

    async def describe(self, call_id: str, *, timeout_seconds: float) -> KeptCall | None:
        """See the port."""
        with self._span("describe_answer", call_id):
            return await self._model.describe(call_id, timeout_seconds=timeout_seconds)

    async def stop(self, call_id: str, *, timeout_seconds: float) -> None:
        """See the port."""
        with self._span("stop_answer", call_id):
            await self._model.stop(call_id, timeout_seconds=timeout_seconds)

    async def forget(self, call_id: str, *, ended: bool, timeout_seconds: float) -> None:
        """See the port."""
        with self._span("delete_answer", call_id):
            await self._model.forget(call_id, ended=ended, timeout_seconds=timeout_seconds)

    @contextmanager
    def _span(self, operation: str, call_id: str) -> Iterator[Span]:
        # The conventions have no name for these operations, and allow one of one's own.
        attributes: dict[str, AttributeValue] = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": self._provider,
            _CALL_ID: call_id,
            _BACKGROUND: True,
        }
        with span(self._tracer, operation, SpanKind.CLIENT, attributes) as current:
            yield current


def _request_attributes(request: ModelRequest, provider: str) -> dict[str, AttributeValue]:
    profile = request.profile
    return _known(
        {
            "gen_ai.operation.name": "generate_content",
            "gen_ai.provider.name": provider,
            "gen_ai.output.type": "json",
            "gen_ai.request.model": profile.model_name,
            "gen_ai.request.max_tokens": profile.max_output_tokens,
            "gen_ai.request.temperature": profile.temperature,
            "gen_ai.request.top_p": profile.top_p,
            "gen_ai.request.top_k": profile.top_k,
            "worker.images": len(request.images),
            "worker.repair": request.correction is not None,
        }
    )


def _answer_attributes(answer: ModelAnswer) -> dict[str, AttributeValue]:
    usage = answer.usage or {}
    thoughts = _count(usage, "thoughtsTokenCount") or 0
    candidates = _count(usage, "candidatesTokenCount")
    reason = answer.finish_reason or answer.block_reason
    return _known(
        {
            "gen_ai.response.id": answer.response_id,
            "gen_ai.response.model": answer.model_version,
            "gen_ai.response.finish_reasons": [reason] if reason else None,
            "gen_ai.usage.input_tokens": _count(usage, "promptTokenCount"),
            # Thinking is billed as output.
            "gen_ai.usage.output_tokens": None if candidates is None else candidates + thoughts,
        }
    )


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    value = usage.get(name)
    return value if isinstance(value, int) else None


def _known(
    attributes: Mapping[str, AttributeValue | None],
) -> dict[str, AttributeValue]:
    return {name: value for name, value in attributes.items() if value is not None}
