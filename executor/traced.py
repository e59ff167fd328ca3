"""The executor with a span for each delivery. Loaded only where traces are sent."""

import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from opentelemetry.trace import SpanKind, Tracer

from executor.ports import (
    LanguageModel,
    ModelAnswer,
    ModelRequest,
    ObjectInfo,
    ObjectStore,
    StoredObject,
)
from executor.push import PushUnreadable, parse_push
from executor.service import Executor
from executor.settings import Backend
from shared.adapters.tracing import (
    AttributeValue,
    TracedDocuments,
    TracedQueue,
    Tracing,
    span,
    traceparent,
)
from shared.domain.artifacts import GcsUri
from shared.domain.messages import MessageUnreadable, decode_job_message
from shared.domain.trace import TRACEPARENT, parse_traceparent

_PROVIDERS = {Backend.AI_STUDIO: "gcp.gemini", Backend.VERTEX: "gcp.vertex_ai"}


def traced(executor: Executor) -> Callable[[bytes], Awaitable[int]]:
    """What handles pushes as the executor does, and sends the spans of it."""
    settings = executor.settings
    tracing = Tracing("executor", settings.shared)
    tracer, dead_letters = tracing.tracer, settings.dead_letter_topic.rpartition("/")[2]
    inner = replace(
        executor,
        documents=TracedDocuments(executor.documents, tracer),
        objects=TracedObjects(executor.objects, tracer),
        model=TracedModel(executor.model, _PROVIDERS[settings.gemini.backend], tracer),
        dead_letters=TracedQueue(executor.dead_letters, dead_letters, tracer),
    )

    async def handle(body: bytes) -> int:
        try:
            delivery = parse_push(body)
        except PushUnreadable:
            return await inner.handle(body)
        parent = parse_traceparent(delivery.attributes.get(TRACEPARENT))
        async with tracing.root(
            "process job",
            parent,
            begins=False,
            attributes=_described(delivery.message_id, delivery.data),
        ) as job_span:
            # So that log lines name this span, and not the one that caused it.
            status = await inner.handle(_renamed(body, traceparent(job_span)))
            job_span.set_attribute("worker.acknowledged", status < HTTPStatus.BAD_REQUEST)
        return status

    return handle


class TracedObjects:
    """Implements the ObjectStore port by another store, with a span for each call."""

    def __init__(self, store: ObjectStore, tracer: Tracer) -> None:
        self._store = store
        self._tracer = tracer

    async def stat(self, uri: GcsUri, *, timeout_seconds: float) -> ObjectInfo | None:
        """See the port."""
        with span(self._tracer, "stat object", SpanKind.CLIENT, _place(uri)):
            return await self._store.stat(uri, timeout_seconds=timeout_seconds)

    async def read(
        self, uri: GcsUri, *, max_bytes: int, timeout_seconds: float
    ) -> StoredObject:
        """See the port."""
        with span(self._tracer, "read object", SpanKind.CLIENT, _place(uri)) as current:
            stored = await self._store.read(
                uri, max_bytes=max_bytes, timeout_seconds=timeout_seconds
            )
            current.set_attribute("worker.object_bytes", len(stored.data))
            return stored

    async def create(
        self,
        uri: GcsUri,
        data: bytes,
        *,
        content_type: str,
        metadata: Mapping[str, str],
        timeout_seconds: float,
    ) -> None:
        """See the port."""
        with span(self._tracer, "create object", SpanKind.CLIENT, _place(uri)) as current:
            current.set_attribute("worker.object_bytes", len(data))
            await self._store.create(
                uri,
                data,
                content_type=content_type,
                metadata=metadata,
                timeout_seconds=timeout_seconds,
            )


class TracedModel:
    """Implements the LanguageModel port by another model, with a span for each call.

    https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/
    """

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


def _described(message_id: str, data: bytes) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        "messaging.system": "gcp_pubsub",
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.message.id": message_id,
    }
    with suppress(MessageUnreadable):
        message = decode_job_message(data)
        attributes |= {"worker.run_id": message.run_id, "worker.step_id": message.step_id}
    return attributes


def _renamed(body: bytes, own: str) -> bytes:
    """The push with another `traceparent`; `parse_push` has accepted it."""
    envelope = json.loads(body)
    attributes = envelope["message"].get("attributes")
    given = attributes if isinstance(attributes, dict) else {}
    envelope["message"]["attributes"] = {**given, TRACEPARENT: own}
    return json.dumps(envelope).encode()


def _place(uri: GcsUri) -> dict[str, AttributeValue]:
    return {"gcp.gcs.bucket": uri.bucket, "gcp.gcs.object": uri.name}


def _count(usage: Mapping[str, Any], name: str) -> int | None:
    value = usage.get(name)
    return value if isinstance(value, int) else None


def _known(
    attributes: Mapping[str, AttributeValue | None],
) -> dict[str, AttributeValue]:
    return {name: value for name, value in attributes.items() if value is not None}
