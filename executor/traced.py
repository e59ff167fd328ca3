"""The executor with a span for each delivery. Loaded only where traces are sent."""

import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus

from opentelemetry.trace import SpanKind, Tracer

from executor.background import BackgroundCalls
from executor.ports import ObjectInfo, ObjectStore, StoredObject
from executor.push import PushUnreadable, parse_push
from executor.service import Executor
from executor.traced_model import PROVIDERS, TracedBackgroundModel, TracedModel
from shared.adapters.tracing import (
    AttributeValue,
    TracedDocuments,
    TracedQueue,
    Tracing,
    span,
    trace_context,
)
from shared.domain.artifacts import GcsUri
from shared.domain.messages import MessageUnreadable, decode_job_message
from shared.domain.trace import TRACEPARENT, parse_traceparent


def traced(executor: Executor) -> Callable[[bytes], Awaitable[int]]:
    """What handles pushes as the executor does, and sends the spans of it."""
    settings = executor.settings
    tracing = Tracing("executor", settings.shared)
    tracer, dead_letters = tracing.tracer, settings.dead_letter_topic.rpartition("/")[2]
    provider = PROVIDERS[settings.gemini.backend]
    inner = replace(
        executor,
        documents=TracedDocuments(executor.documents, tracer),
        objects=TracedObjects(executor.objects, tracer),
        model=TracedModel(executor.model, provider, tracer),
        background=_traced_background(executor.background, provider, tracer),
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
            status = await inner.handle(_renamed(body, trace_context(job_span).traceparent()))
            job_span.set_attribute("worker.acknowledged", status < HTTPStatus.BAD_REQUEST)
        return status

    return handle


def _traced_background(
    calls: BackgroundCalls | None, provider: str, tracer: Tracer
) -> BackgroundCalls | None:
    if calls is None:
        return None
    return replace(calls, model=TracedBackgroundModel(calls.model, provider, tracer))


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
