"""The dispatcher with a span for each event. Loaded only where traces are sent."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from dispatcher.service import Dispatcher
from shared.adapters.tracing import TracedDocuments, TracedQueue, Tracing, traceparent
from shared.domain.trace import TRACEPARENT, parse_traceparent, trace_of_event


def traced(dispatcher: Dispatcher) -> Callable[[Mapping[str, str], bytes], Awaitable[None]]:
    """What handles events as the dispatcher does, and sends the spans of it."""
    settings = dispatcher.settings
    tracing = Tracing("dispatcher", settings.shared)
    topic = settings.jobs_topic.rpartition("/")[2]
    inner = replace(
        dispatcher,
        documents=TracedDocuments(dispatcher.documents, tracing.tracer),
        queue=TracedQueue(dispatcher.queue, topic, tracing.tracer),
    )

    async def handle(attributes: Mapping[str, str], data: bytes) -> None:
        event_id = attributes.get("id", "")
        given = parse_traceparent(attributes.get(TRACEPARENT))
        async with tracing.root(
            "process flow_run event",
            given or trace_of_event(event_id),
            begins=given is None,
            attributes=_described(attributes),
        ) as event_span:
            # So that log lines name this span, and not the one that caused it.
            own = {TRACEPARENT: traceparent(event_span)}
            await inner.handle({**attributes, **own}, data)

    return handle


def _described(attributes: Mapping[str, str]) -> dict[str, str]:
    """What the event says of itself.

    https://opentelemetry.io/docs/specs/semconv/cloudevents/cloudevents-spans/
    """
    known = {
        "cloudevents.event_id": "id",
        "cloudevents.event_source": "source",
        "cloudevents.event_type": "type",
        "cloudevents.event_subject": "subject",
    }
    return {name: attributes[key][:256] for name, key in known.items() if key in attributes}
