"""Dispatcher and sweep with a span for each run. Loaded only where traces are sent."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

from opentelemetry.trace import Span, SpanKind, Tracer

from dispatcher.ports import DispatcherPorts, SweepPorts
from dispatcher.service import Dispatcher
from dispatcher.settings import DispatcherSettings
from dispatcher.sweep import Sweep
from dispatcher.sweep_report import SweepReport
from shared.adapters.tracing import (
    AttributeValue,
    TracedDocuments,
    TracedQueue,
    Tracing,
    span,
    trace_context,
)
from shared.domain.documents import Snapshot
from shared.domain.job_documents import COLLECTION as JOBS
from shared.domain.trace import TRACEPARENT, parse_traceparent, trace_of_event
from shared.ports import UnfinishedWork

_Ports = TypeVar("_Ports", bound=DispatcherPorts)


def traced(
    ports: DispatcherPorts,
    settings: DispatcherSettings,
    assemble: Callable[[DispatcherPorts, DispatcherSettings], Dispatcher],
) -> Callable[[Mapping[str, str], bytes], Awaitable[None]]:
    """What handles events as the dispatcher on these ports does, and sends its spans."""
    tracing = Tracing("dispatcher", settings.shared)
    inner = assemble(_traced_ports(ports, settings, tracing.tracer), settings)

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
            own = {TRACEPARENT: trace_context(event_span).traceparent()}
            await inner.handle({**attributes, **own}, data)

    return handle


def traced_sweep(
    ports: SweepPorts,
    settings: DispatcherSettings,
    assemble: Callable[[SweepPorts, DispatcherSettings], Sweep],
) -> Callable[[], Awaitable[SweepReport]]:
    """What sweeps as the sweep on these ports does, and sends its spans."""
    tracing = Tracing("dispatcher", settings.shared)
    inner = _traced_ports(ports, settings, tracing.tracer)
    sweep = assemble(replace(inner, work=TracedWork(ports.work, tracing.tracer)), settings)

    async def run() -> SweepReport:
        # https://opentelemetry.io/docs/specs/semconv/faas/faas-spans/
        async with tracing.root(
            "sweep",
            None,
            begins=True,
            attributes={"faas.trigger": "timer"},
            kind=SpanKind.SERVER,
        ) as sweep_span:
            own = trace_context(sweep_span)
            log = sweep.log.bind(**own.log_fields(settings.shared.project))
            report = await replace(sweep, trace=own, log=log).run()
            sweep_span.set_attributes(_counted(report))
        return report

    return run


def _traced_ports(ports: _Ports, settings: DispatcherSettings, tracer: Tracer) -> _Ports:
    topic = settings.jobs_topic.rpartition("/")[2]
    return replace(
        ports,
        documents=TracedDocuments(ports.documents, tracer),
        queue=TracedQueue(ports.queue, topic, tracer),
    )


class TracedWork:
    """Implements the UnfinishedWork port by another, with a span for each page."""

    def __init__(self, work: UnfinishedWork, tracer: Tracer) -> None:
        self._work = work
        self._tracer = tracer

    async def due_jobs(
        self,
        now: datetime,
        *,
        after: Snapshot | None,
        limit: int,
        timeout_seconds: float,
        heads: bool = False,
    ) -> Sequence[Snapshot]:
        """See the port."""
        with self._span(JOBS) as current:
            page = await self._work.due_jobs(
                now,
                after=after,
                limit=limit,
                timeout_seconds=timeout_seconds,
                heads=heads,
            )
            current.set_attribute("db.response.returned_rows", len(page))
            return page

    async def waiting_jobs(
        self, *, after: str, before: str, limit: int, timeout_seconds: float
    ) -> Sequence[Snapshot]:
        """See the port."""
        with self._span(JOBS) as current:
            page = await self._work.waiting_jobs(
                after=after, before=before, limit=limit, timeout_seconds=timeout_seconds
            )
            current.set_attribute("db.response.returned_rows", len(page))
            return page

    async def count_waiting(self, *, after: str, before: str, timeout_seconds: float) -> int:
        """See the port."""
        with self._span(JOBS):
            return await self._work.count_waiting(
                after=after, before=before, timeout_seconds=timeout_seconds
            )

    async def running_runs(
        self,
        collection: str,
        *,
        after: str | None,
        limit: int,
        timeout_seconds: float,
        heads: bool = False,
    ) -> Sequence[Snapshot]:
        """See the port."""
        with self._span(collection) as current:
            page = await self._work.running_runs(
                collection,
                after=after,
                limit=limit,
                timeout_seconds=timeout_seconds,
                heads=heads,
            )
            current.set_attribute("db.response.returned_rows", len(page))
            return page

    @contextmanager
    def _span(self, collection: str) -> Iterator[Span]:
        attributes = {
            "db.system.name": "gcp.firestore",
            "db.operation.name": "run_query",
            "db.collection.name": collection,
        }
        name = f"run_query {collection}"
        with span(self._tracer, name, SpanKind.CLIENT, attributes) as current:
            yield current


def _counted(report: SweepReport) -> dict[str, AttributeValue]:
    counts = {f"worker.sweep.{name}": number for name, number in report.jobs.items()}
    return {
        **counts,
        "worker.sweep.runs": report.runs,
        "worker.sweep.claimed": report.claimed,
        "worker.sweep.finished": report.finished,
    }


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
