"""One trace over both functions, seen in a collector; none where tracing is not wanted."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from infra.local.demo import seed
from infra.local.emulators.finding import Missing, find_emulators
from infra.local.emulators.relay import EVENT_LIMIT_BYTES
from infra.local.environment import local_environment
from infra.local.overrides import EnvironmentOverrides
from infra.local.plan import LocalEnvironment
from infra.local.scenario import prompt_documents, schema_documents, single_report_run
from infra.local.scenario.model import Scenario
from infra.local.serving.asgi import serve
from shared.domain.documents import DocumentRef
from shared.domain.trace import trace_of_event

RUN_ID = "20260106-090000_ETHUSD_trace"
STEP_ID = "llm_report_1d"
CANARY = "canary-prompt-text"
PATIENCE_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A span as it came over the wire."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: Mapping[str, str]


@dataclass(slots=True)
class Collector:
    """Takes spans in OTLP's binary form over HTTP."""

    spans: list[Span] = field(default_factory=list)
    #: Every byte that was sent, in order to look for what must not be in it.
    received: bytes = b""
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def app(self) -> Starlette:
        """Return the server's application."""
        return Starlette(routes=[Route("/v1/traces", self._take, methods=["POST"])])

    def named(self, start: str) -> list[Span]:
        """The spans whose names begin like this."""
        return [span for span in self.spans if span.name.startswith(start)]

    async def one(self, start: str) -> Span:
        """The one span whose name begins like this, once it is there."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not self.named(start):
                self.arrived.clear()
                await self.arrived.wait()
        [span] = self.named(start)
        return span

    async def first_two(self, start: str) -> tuple[Span, Span]:
        """The first two spans whose names begin like this, once they are there."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.named(start)) < 2:
                self.arrived.clear()
                await self.arrived.wait()
        first, second, *_ = self.named(start)
        return first, second

    async def spanning(self, span_id: str) -> Span:
        """The span with this id, once it is there."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (found := [span for span in self.spans if span.span_id == span_id]):
                self.arrived.clear()
                await self.arrived.wait()
        return found[0]

    async def _take(self, request: Request) -> Response:
        assert request.headers["content-type"] == "application/x-protobuf"
        body = await request.body()
        self.received += body
        for of_service in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = _attributes(of_service.resource.attributes)["service.name"]
            for of_scope in of_service.scope_spans:
                self.spans += [_span(service, span) for span in of_scope.spans]
        self.arrived.set()
        return Response(b"", media_type="application/x-protobuf")


def _span(service: str, span: Any) -> Span:
    return Span(
        service=service,
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        attributes=_attributes(span.attributes),
    )


def _attributes(pairs: Any) -> dict[str, str]:
    values = {pair.key: pair.value for pair in pairs}
    return {
        key: str(getattr(value, value.WhichOneof("value"))) for key, value in values.items()
    }


def scenario(bucket: str, **more: str) -> Scenario:
    document, objects = single_report_run(bucket=bucket, run_id=RUN_ID)
    prompts = {
        prompt_id: {**prompt, "systemInstruction": CANARY, "userPrompt": CANARY}
        for prompt_id, prompt in prompt_documents().items()
    }
    return Scenario(
        prompts=prompts,
        schemas=schema_documents(),
        objects=objects,
        runs={RUN_ID: {**document, **more}},
        expectations=[],
    )


async def ended(environment: LocalEnvironment) -> str:
    """The step's status once it is terminal."""
    ref = DocumentRef("flow_runs", RUN_ID)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            [run] = await environment.documents.read([ref], timeout_seconds=10)
            assert run is not None
            status = str(run.data["steps"][STEP_ID]["status"])
            if status not in {"READY", "RUNNING"}:
                return status
            await asyncio.sleep(0.1)


def logged(folder: Path, event: str) -> dict[str, Any]:
    """The first entry of this event."""
    lines = [line for log in folder.glob("*.log") for line in log.read_text().splitlines()]
    entries = [json.loads(line) for line in lines if line.startswith("{")]
    found = [entry for entry in entries if entry.get("event") == event]
    return dict(min(found, key=lambda entry: str(entry["time"])))


@asynccontextmanager
async def traced_environment(
    collector: Collector, data_dir: Path, **settings: str
) -> AsyncIterator[LocalEnvironment]:
    """Run an environment whose functions send their spans to the collector."""
    found = find_emulators(os.environ, Path.home())
    if isinstance(found, Missing) and not os.environ.get("CI"):
        pytest.skip("; ".join(found.reasons))
    async with serve(collector.app(), name="collector") as url:
        tuning = EnvironmentOverrides(
            settings={"OTEL_EXPORTER_OTLP_ENDPOINT": url, **settings}, sweep_every_seconds=1.0
        )
        async with local_environment(
            embedded=False, data_dir=data_dir, say=print, tuning=tuning
        ) as environment:
            yield environment


@pytest.mark.emulators
async def test_one_trace_leads_from_the_event_to_the_model_call_and_the_last_commit(
    tmp_path: Path,
) -> None:
    collector = Collector()
    async with traced_environment(collector, tmp_path) as environment:
        await seed(environment, scenario(environment.bucket))
        assert await ended(environment) == "SUCCEEDED"
        sending = await collector.one("send llm-jobs")
        job = await collector.one("process job")
        job_received = logged(environment.log_folder, "job_received")
        claim = logged(environment.log_folder, "job_published")

    [event] = [span for span in collector.spans if span.span_id == sending.parent_id]
    assert event.name == "process flow_run event"
    assert (event.service, event.parent_id) == ("worker_llm_client.dispatcher", "")
    assert event.trace_id == trace_of_event(event.attributes["cloudevents.event_id"]).trace_id
    assert (job.service, job.parent_id) == ("worker_llm_client.executor", sending.span_id)
    assert job.attributes["worker.run_id"] == RUN_ID
    of_job = {span.name: span for span in collector.spans if span.parent_id == job.span_id}
    assert {span.trace_id for span in of_job.values()} == {event.trace_id}
    assert of_job.keys() >= {
        "batch_get flow_runs,llm_jobs,llm_pacing,llm_prompts,llm_schemas",
        "read object",
        "create object",
        "commit llm_jobs",
        "commit flow_runs,llm_jobs",
    }
    assert "commit flow_runs,llm_jobs" in _children(collector.spans, event)
    call = next(span for name, span in of_job.items() if name.startswith("generate_content"))
    check_model_span(call)
    # Cloud Logging shows an entry below the span that it names.
    assert claim["logging.googleapis.com/spanId"] == event.span_id
    assert job_received["logging.googleapis.com/spanId"] == job.span_id
    assert CANARY.encode() not in collector.received


@pytest.mark.emulators
async def test_one_trace_leads_from_the_sweep_to_a_call_in_the_background_and_its_answer(
    tmp_path: Path,
) -> None:
    collector = Collector()
    # Eventarc refuses an event of this size, so only the sweep can find the step.
    large = {"notes": "x" * (EVENT_LIMIT_BYTES + 1)}
    async with traced_environment(
        collector, tmp_path, GEMINI_API="interactions"
    ) as environment:
        await seed(environment, scenario(environment.bucket, **large))
        assert await ended(environment) == "SUCCEEDED"
        # The call is begun by one job message, and its answer fetched by another.
        sending, _ = await collector.first_two("send llm-jobs")
        job, fetching = await collector.first_two("process job")
        claim = logged(environment.log_folder, "job_published")
        sweep = await collector.spanning(sending.parent_id)

    assert (sweep.name, sweep.parent_id) == ("sweep", "")
    assert (sweep.service, job.service) == (
        "worker_llm_client.dispatcher",
        "worker_llm_client.executor",
    )
    assert sweep.attributes["worker.sweep.claimed"] == "1"
    assert {"run_query flow_runs", "run_query llm_jobs"} <= _children(collector.spans, sweep)
    assert "commit flow_runs,llm_jobs" in _children(collector.spans, sweep)
    assert claim["logging.googleapis.com/spanId"] == sweep.span_id
    assert (job.parent_id, job.trace_id) == (sending.span_id, sweep.trace_id)
    both = {job.span_id, fetching.span_id}
    check_background_spans([span for span in collector.spans if span.parent_id in both])
    assert CANARY.encode() not in collector.received


def check_background_spans(of_job: Sequence[Span]) -> None:
    calls = [span for span in of_job if "gen_ai.operation.name" in span.attributes]
    begun, *looks, deleted = calls
    answer = looks[-1]
    assert begun.name == f"generate_content {begun.attributes['gen_ai.request.model']}"
    assert {look.name for look in looks} == {"fetch_answer"}
    assert deleted.name == "delete_answer"
    assert len({call.attributes["gen_ai.response.id"] for call in calls}) == 1
    assert {call.attributes["worker.background"] for call in calls} == {"True"}
    assert {call.attributes["gen_ai.provider.name"] for call in calls} == {"gcp.gemini"}
    assert {look.attributes["worker.call_state"] for look in looks[:-1]} <= {"running"}
    assert answer.attributes["worker.call_state"] == "answered"
    # Tokens are counted once.
    counted = [call for call in calls if "gen_ai.usage.input_tokens" in call.attributes]
    assert counted == [answer]
    assert int(answer.attributes["gen_ai.usage.output_tokens"]) > 0
    assert "STOP" in answer.attributes["gen_ai.response.finish_reasons"]


def check_model_span(call: Span) -> None:
    attributes = dict(call.attributes)
    assert attributes["gen_ai.operation.name"] == "generate_content"
    assert attributes["gen_ai.provider.name"] == "gcp.gemini"
    assert attributes["gen_ai.request.model"] == call.name.removeprefix("generate_content ")
    assert "STOP" in attributes["gen_ai.response.finish_reasons"]
    assert int(attributes["gen_ai.usage.input_tokens"]) > 0
    assert int(attributes["gen_ai.usage.output_tokens"]) > 0


def _children(spans: Sequence[Span], parent: Span) -> set[str]:
    return {span.name for span in spans if span.parent_id == parent.span_id}


TRACING = ("opentelemetry.sdk", "opentelemetry.exporter", "shared.adapters.tracing")


def loaded_by(stage: str, *, absent: Sequence[str] = ()) -> Sequence[str]:
    """The modules of a function that has started, where these modules cannot be imported."""
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("OTEL_")},
        "GCP_PROJECT": "p",
        "ARTIFACTS_BUCKET": "bucket",
        "JOBS_TOPIC": "jobs",
        "DEAD_LETTER_TOPIC": "dead",
        "GEMINI_API_KEY": "k",
    }
    script = f"""
import sys
sys.modules.update(dict.fromkeys({list(absent)!r}))
import {stage}.main
print(*sorted(name for name, module in sys.modules.items() if module))
"""
    ran = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, env=environ
    )
    return ran.stdout.split()


@pytest.mark.parametrize("stage", ["dispatcher", "executor"])
def test_without_an_endpoint_a_function_starts_as_if_there_were_no_tracing(stage: str) -> None:
    with_tracing = loaded_by(stage)
    without = loaded_by(stage, absent=[*TRACING, f"{stage}.traced"])

    assert f"{stage}.main" in with_tracing
    # What is loaded decides how long a start takes, so the modules must be the very same.
    assert with_tracing == without
    assert not [name for name in with_tracing if name.startswith(TRACING)]
