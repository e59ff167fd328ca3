"""Where spans go, and that no work depends on their getting there."""

import pytest

from infra.local.serving.free_ports import free_port
from shared.adapters.tracing import TracedDocuments, TracedQueue, Tracing, trace_context
from shared.domain.documents import DocumentRef
from shared.domain.messages import OutgoingMessage
from shared.domain.trace import parse_traceparent, trace_of_event
from shared.ports import StoreUnavailable
from shared.settings import EnvironmentReader, SettingsInvalid, TraceTarget, read_shared

GENERAL, SPECIFIC = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"


@pytest.mark.parametrize(
    ("environ", "target"),
    [
        ({}, TraceTarget.NOWHERE),
        ({GENERAL: ""}, TraceTarget.NOWHERE),
        ({GENERAL: "http://127.0.0.1:4318"}, TraceTarget.COLLECTOR),
        ({SPECIFIC: "https://collector/v1/traces"}, TraceTarget.COLLECTOR),
        ({GENERAL: "https://telemetry.googleapis.com"}, TraceTarget.GOOGLE_CLOUD),
        ({GENERAL: "https://telemetry.googleapis.com.evil.example"}, TraceTarget.COLLECTOR),
    ],
)
def test_an_endpoint_turns_tracing_on(environ: dict[str, str], target: TraceTarget) -> None:
    reader = EnvironmentReader({"GCP_PROJECT": "p", **environ})

    assert read_shared(reader).trace_target is target
    assert reader.problems == []


@pytest.mark.parametrize("endpoint", ["collector:4317", "grpc://collector", "http://"])
def test_an_endpoint_that_is_no_url_stops_the_function(endpoint: str) -> None:
    reader = EnvironmentReader({"GCP_PROJECT": "p", GENERAL: endpoint})
    read_shared(reader)

    with pytest.raises(SettingsInvalid, match=GENERAL):
        reader.finish()


class _Queue:
    def __init__(self) -> None:
        self.sent: list[OutgoingMessage] = []

    async def publish(self, messages: list[OutgoingMessage], *, timeout_seconds: float) -> None:
        del timeout_seconds
        self.sent += messages


class _Unavailable:
    async def read(self, refs: object, *, timeout_seconds: float) -> list[None]:
        raise StoreUnavailable("ServiceUnavailable")

    async def commit(self, writes: object, *, timeout_seconds: float) -> int:
        raise StoreUnavailable("ServiceUnavailable")


@pytest.fixture
def tracing(monkeypatch: pytest.MonkeyPatch) -> Tracing:
    """Return tracing whose collector is not there."""
    monkeypatch.setenv(GENERAL, f"http://127.0.0.1:{free_port()}")
    reader = EnvironmentReader({"GCP_PROJECT": "p", GENERAL: "http://127.0.0.1:1"})
    return Tracing("dispatcher", read_shared(reader))


async def test_a_collector_that_is_not_there_changes_nothing_of_the_work(
    tracing: Tracing,
) -> None:
    queue = _Queue()
    known = trace_of_event("event-1")
    async with tracing.root("work", known, begins=True, attributes={}) as span:
        traced = TracedQueue(queue, "jobs", tracing.tracer)  # type: ignore[arg-type]
        await traced.publish(
            [OutgoingMessage(data=b"x", attributes={"runId": "r", "traceparent": "old"})],
            timeout_seconds=1,
        )
        own = trace_context(span)

    [message] = queue.sent
    sent = parse_traceparent(message.attributes["traceparent"])
    assert message.attributes["runId"] == "r"
    assert sent is not None
    # The trace is the event's own, however often the event is delivered; each time has a span
    # of its own.
    assert own.trace_id == sent.trace_id == known.trace_id
    assert len({own.span_id, sent.span_id, known.span_id}) == 3


async def test_a_failure_goes_through_as_it_is(tracing: Tracing) -> None:
    documents = TracedDocuments(_Unavailable(), tracing.tracer)  # type: ignore[arg-type]

    with pytest.raises(StoreUnavailable):
        async with tracing.root("work", None, begins=False, attributes={}):
            await documents.read([DocumentRef("flow_runs", "r")], timeout_seconds=1)


async def test_work_that_another_span_caused_stays_in_its_trace(tracing: Tracing) -> None:
    parent = parse_traceparent("00-0123456789abcdef0123456789abcdef-0123456789abcdef-01")
    async with tracing.root("work", parent, begins=False, attributes={}) as span:
        own = trace_context(span)

    assert parent is not None
    assert (own.trace_id, own.sampled) == (parent.trace_id, True)
    assert own.span_id != parent.span_id
