"""The executor with a span for each delivery. Loaded only where traces are sent."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace

from opentelemetry.trace import SpanKind, Tracer

from executor.adapters.traced import PROVIDERS, TracedBackgroundModel, TracedModel
from executor.contract.artifacts import GcsUri
from executor.ports import ObjectInfo, ObjectStore, StoredObject
from executor.push import Answer, Delivery, DeliveryHandler
from executor.service import Executor, ExecutorPorts
from executor.settings import ExecutorSettings
from shared.adapters.tracing import (
    AttributeValue,
    TracedDocuments,
    TracedQueue,
    Tracing,
    span,
    trace_context,
)
from shared.domain.messages import MessageUnreadable, decode_job_message
from shared.domain.trace import TRACEPARENT, parse_traceparent


def traced(
    ports: ExecutorPorts,
    settings: ExecutorSettings,
    assemble: Callable[[ExecutorPorts, ExecutorSettings], Executor],
) -> DeliveryHandler:
    """What handles deliveries as the executor on these ports does, and sends its spans."""
    tracing = Tracing("executor", settings.shared)
    executor = assemble(_traced_ports(ports, settings, tracing.tracer), settings)

    async def handle(delivery: Delivery) -> Answer:
        parent = parse_traceparent(delivery.attributes.get(TRACEPARENT))
        async with tracing.root(
            "process job", parent, begins=False, attributes=_described(delivery)
        ) as job_span:
            # So that log lines name this span, and not the one that caused it.
            own = {TRACEPARENT: trace_context(job_span).traceparent()}
            attributes = {**delivery.attributes, **own}
            answer = await executor.handle(replace(delivery, attributes=attributes))
            job_span.set_attribute("worker.acknowledged", answer is Answer.ACK)
        return answer

    return handle


def _traced_ports(
    ports: ExecutorPorts, settings: ExecutorSettings, tracer: Tracer
) -> ExecutorPorts:
    dead_letters = settings.dead_letter_topic.rpartition("/")[2]
    provider, background = PROVIDERS[settings.gemini.backend], ports.background
    return replace(
        ports,
        documents=TracedDocuments(ports.documents, tracer),
        objects=TracedObjects(ports.objects, tracer),
        model=TracedModel(ports.model, provider, tracer),
        background=background and TracedBackgroundModel(background, provider, tracer),
        dead_letters=TracedQueue(ports.dead_letters, dead_letters, tracer),
    )


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

    async def prove_writable(self, uri: GcsUri, *, timeout_seconds: float) -> None:
        """See the port."""
        with span(self._tracer, "prove writable", SpanKind.CLIENT, _place(uri)):
            await self._store.prove_writable(uri, timeout_seconds=timeout_seconds)


def _described(delivery: Delivery) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        "messaging.system": "gcp_pubsub",
        "messaging.operation.type": "process",
        "messaging.operation.name": "process",
        "messaging.message.id": delivery.message_id,
    }
    with suppress(MessageUnreadable):
        message = decode_job_message(delivery.data)
        attributes |= {"worker.run_id": message.run_id, "worker.step_id": message.step_id}
    return attributes


def _place(uri: GcsUri) -> dict[str, AttributeValue]:
    return {"gcp.gcs.bucket": uri.bucket, "gcp.gcs.object": uri.name}
