"""Spans of the work in OpenTelemetry's form, sent to the endpoint that the settings name.

Loading this module loads OpenTelemetry's SDK: the composition roots do so only where the
settings name an endpoint. Tracing stands around the ports, so the services know nothing of
it. Spans carry ids, counts and names of error types; never a text of a prompt, of a context,
of a model or of an exception.

The standard variables of the SDK and of its exporter apply, such as OTEL_TRACES_SAMPLER and
OTEL_EXPORTER_OTLP_HEADERS
(https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/).
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace

from opentelemetry import context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    format_span_id,
    format_trace_id,
    set_span_in_context,
)

from shared.domain.documents import Create, DocumentRef, Snapshot, Version, Write
from shared.domain.messages import OutgoingMessage
from shared.domain.trace import TRACEPARENT, TraceContext
from shared.log import SERVICE
from shared.ports import DocumentStore, Queue
from shared.settings import SharedSettings, TraceTarget

AttributeValue = str | int | float | bool | Sequence[str]

#: What a collector that does not answer may add to an invocation.
_EXPORT_SECONDS = 2.0
_SCOPE = "https://www.googleapis.com/auth/trace.append"
#: Set while a root span begins that shall have a trace id that is known already.
_known_trace_id: ContextVar[int | None] = ContextVar("known_trace_id", default=None)


class _KnownTraceIds(RandomIdGenerator):
    def generate_trace_id(self) -> int:
        return _known_trace_id.get() or super().generate_trace_id()


class Tracing:
    """The spans of one component."""

    def __init__(self, component: str, shared: SharedSettings) -> None:
        resource = {
            "service.name": f"{SERVICE}.{component}",
            "service.namespace": SERVICE,
            "deployment.environment.name": shared.environment,
            # By which Cloud Trace knows the project:
            # https://cloud.google.com/stackdriver/docs/reference/telemetry/overview
            "gcp.project_id": shared.project,
        }
        self._provider = TracerProvider(
            resource=Resource.create(resource), id_generator=_KnownTraceIds()
        )
        self._provider.add_span_processor(BatchSpanProcessor(_exporter(shared.trace_target)))
        self.tracer = self._provider.get_tracer(SERVICE)

    @asynccontextmanager
    async def root(
        self,
        name: str,
        parent: TraceContext | None,
        *,
        begins: bool,
        attributes: Mapping[str, AttributeValue],
        kind: SpanKind = SpanKind.CONSUMER,
    ) -> AsyncIterator[Span]:
        """The span of one invocation; what it held has been sent when the block ends.

        `parent` caused the work; where it `begins` a trace, only its trace id is taken. The
        instance's CPU may be taken away after the answer, so nothing is left for later.
        """
        token = _known_trace_id.set(int(parent.trace_id, 16) if parent and begins else None)
        cause = _remote(parent) if parent and not begins else context.Context()
        attached = context.attach(cause)
        try:
            with span(self.tracer, name, kind, attributes) as current:
                _known_trace_id.reset(token)
                yield current
        finally:
            context.detach(attached)
            with suppress(TimeoutError):
                async with asyncio.timeout(_EXPORT_SECONDS):
                    await asyncio.to_thread(
                        self._provider.force_flush, round(_EXPORT_SECONDS * 1000)
                    )


class TracedDocuments:
    """Implements the DocumentStore port by another store, with a span for each call."""

    def __init__(self, store: DocumentStore, tracer: Tracer) -> None:
        self._store = store
        self._tracer = tracer

    async def read(
        self, refs: Sequence[DocumentRef], *, timeout_seconds: float
    ) -> Sequence[Snapshot | None]:
        """See the port."""
        with self._span("batch_get", {ref.collection for ref in refs}, len(refs)):
            return await self._store.read(refs, timeout_seconds=timeout_seconds)

    async def commit(self, writes: Sequence[Write], *, timeout_seconds: float) -> Version:
        """See the port."""
        collections = {write.ref.collection for write in writes}
        with self._span("commit", collections, len(writes)) as current:
            creations = sum(isinstance(write, Create) for write in writes)
            current.set_attribute("worker.documents_created", creations)
            return await self._store.commit(writes, timeout_seconds=timeout_seconds)

    @contextmanager
    def _span(self, operation: str, collections: set[str], size: int) -> Iterator[Span]:
        # https://opentelemetry.io/docs/specs/semconv/db/database-spans/
        attributes: dict[str, AttributeValue] = {
            "db.system.name": "gcp.firestore",
            "db.operation.name": operation,
            "db.operation.batch.size": size,
            "db.collection.name": ",".join(sorted(collections)),
        }
        name = f"{operation} {attributes['db.collection.name']}"
        with span(self._tracer, name, SpanKind.CLIENT, attributes) as current:
            yield current


class TracedQueue:
    """Implements the Queue port by another queue; its messages name their sending's span."""

    def __init__(self, queue: Queue, topic: str, tracer: Tracer) -> None:
        self._queue = queue
        self._topic = topic
        self._tracer = tracer

    async def publish(
        self, messages: Sequence[OutgoingMessage], *, timeout_seconds: float
    ) -> None:
        """See the port."""
        # https://opentelemetry.io/docs/specs/semconv/messaging/gcp-pubsub/
        attributes: dict[str, AttributeValue] = {
            "messaging.system": "gcp_pubsub",
            "messaging.operation.type": "send",
            "messaging.operation.name": "send",
            "messaging.destination.name": self._topic,
            "messaging.batch.message_count": len(messages),
        }
        with span(
            self._tracer, f"send {self._topic}", SpanKind.PRODUCER, attributes
        ) as sending:
            parent = {TRACEPARENT: trace_context(sending).traceparent()}
            sent = [
                replace(message, attributes={**message.attributes, **parent})
                for message in messages
            ]
            await self._queue.publish(sent, timeout_seconds=timeout_seconds)


@contextmanager
def span(
    tracer: Tracer, name: str, kind: SpanKind, attributes: Mapping[str, AttributeValue]
) -> Iterator[Span]:
    """A span around the block; of an exception it tells the type alone."""
    with tracer.start_as_current_span(
        name,
        kind=kind,
        attributes=attributes,
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield current
        except BaseException as error:
            current.set_attribute("error.type", type(error).__name__)
            current.set_status(StatusCode.ERROR)
            raise


def trace_context(current: Span) -> TraceContext:
    """How the span is named to others."""
    own = current.get_span_context()
    return TraceContext(
        trace_id=format_trace_id(own.trace_id),
        span_id=format_span_id(own.span_id),
        sampled=own.trace_flags.sampled,
    )


def _remote(parent: TraceContext) -> context.Context:
    named = SpanContext(
        trace_id=int(parent.trace_id, 16),
        span_id=int(parent.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED if parent.sampled else TraceFlags.DEFAULT),
    )
    return set_span_in_context(NonRecordingSpan(named), context.Context())


def _exporter(target: TraceTarget) -> OTLPSpanExporter:
    if target is not TraceTarget.GOOGLE_CLOUD:
        return OTLPSpanExporter(timeout=_EXPORT_SECONDS)
    # Late, as collectors of one's own need no credentials.
    import google.auth  # noqa: PLC0415
    from google.auth.transport.requests import AuthorizedSession  # noqa: PLC0415

    credentials, _ = google.auth.default(scopes=[_SCOPE])
    session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
    return OTLPSpanExporter(timeout=_EXPORT_SECONDS, session=session)
