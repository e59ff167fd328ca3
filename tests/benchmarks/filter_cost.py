"""What an event costs the dispatcher: every write to every run causes one."""

import asyncio
import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Never

from dispatcher.ports import DispatcherPorts
from dispatcher.settings import read_settings
from dispatcher.wiring import assemble
from infra.local.cloud.cloud_events import Document, document_event
from shared.adapters.clock import SystemClock
from shared.log import EventLogger, Severity

SIZES = (10, 50, 100, 250, 500)
_RUN_ID = "20260105-090000_BTCUSD_bench"
_SETTINGS = {"GCP_PROJECT": "bench", "JOBS_TOPIC": "jobs"}
_MEBIBYTE = 1_048_576
_NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterCost:
    """Samples of one kind of event at one size."""

    kind: str
    steps: int
    event_bytes: int
    milliseconds: Sequence[float]


class _Unused:
    """A store and a queue that nobody may call."""

    async def read(self, *_: Any, **__: Any) -> Never:
        raise AssertionError("an event that asks for nothing read the database")

    async def commit(self, *_: Any, **__: Any) -> Never:
        raise AssertionError("an event that asks for nothing wrote to the database")

    async def publish(self, *_: Any, **__: Any) -> Never:
        raise AssertionError("an event that asks for nothing published")


class _Obliging:
    """A store that accepts every commit, a queue that accepts every message; none is kept."""

    async def read(self, *_: Any, **__: Any) -> Never:
        raise AssertionError("a claim read the database")

    async def commit(self, *_: Any, **__: Any) -> int:
        return 1

    async def publish(self, *_: Any, **__: Any) -> None:
        return None


def repeat_event(steps: int, times: int) -> None:
    """Handle one event that asks for nothing so many times, for an instrument that counts."""
    old = _run(steps, filler=0)
    _measured("others' field", steps, old, _touched(old), times)


def measure_filter(rounds: int) -> Sequence[FilterCost]:
    """Hand the dispatcher events of several sizes, with and without a READY step."""
    costs = []
    for steps in SIZES:
        for kind, change in CHANGES.items():
            old = _run(steps, filler=0)
            costs.append(_measured(kind, steps, old, change(old), rounds))
    large = _run(SIZES[-1], filler=_largest_filler())
    costs.append(_measured("others' field, 1 MiB", SIZES[-1], large, _touched(large), rounds))
    return costs


def _measured(
    kind: str, steps: int, old: Mapping[str, Any], new: Mapping[str, Any], rounds: int
) -> FilterCost:
    event = document_event(
        project="bench",
        document_path=f"flow_runs/{_RUN_ID}",
        old=Document(fields=dict(old), create_time=1_000, update_time=1_000),
        new=Document(fields=dict(new), create_time=1_000, update_time=2_000),
        event_id="bench",
        time=_NOW,
    )
    attributes = {"id": "bench", "subject": f"documents/flow_runs/{_RUN_ID}"}
    services = _Obliging() if kind == READY else _Unused()
    samples = asyncio.run(_handled(attributes, event.body, rounds, services))
    return FilterCost(kind=kind, steps=steps, event_bytes=len(event.body), milliseconds=samples)


async def _handled(
    attributes: Mapping[str, str], body: bytes, rounds: int, services: Any
) -> list[float]:
    clock = SystemClock()
    dispatcher = assemble(
        DispatcherPorts(
            documents=services,
            queue=services,
            clock=clock,
            log=EventLogger(
                component="dispatcher",
                env="bench",
                clock=clock,
                threshold=Severity.INFO,
                stream=io.StringIO(),
            ),
            new_id=lambda: "bench",
        ),
        read_settings(_SETTINGS),
    )
    samples = []
    for _ in range(rounds):
        begun = time.process_time()
        await dispatcher.handle(attributes, body)
        samples.append((time.process_time() - begun) * 1000)
    return samples


def _run(steps: int, *, filler: int) -> dict[str, Any]:
    done = timedelta(seconds=20)
    execution = {"timing": {"startedAt": "2026-01-05T09:00:00Z", "durationMs": done.seconds}}
    usage = {"promptTokenCount": 4_000, "candidatesTokenCount": 900, "totalTokenCount": 4_900}
    step = {
        "stepType": "LLM_REPORT",
        "status": "SUCCEEDED",
        "timeframe": "1d",
        "dependsOn": ["ohlcv_export_1d", "chart_export_1d"],
        "inputs": {"llm": {"promptId": "llm_prompt_1d_report_v1_0", "filler": "x" * filler}},
        "outputs": {
            "gcs_uri": "gs://bench-artifacts/run/1d/step.json",
            "execution": {**execution, "llm": {"usageMetadata": usage}},
        },
    }
    exports = {
        name: {**step, "stepType": kind, "dependsOn": []}
        for name, kind in (
            ("ohlcv_export_1d", "OHLCV_EXPORT"),
            ("chart_export_1d", "CHART_EXPORT"),
        )
    }
    reports = {f"llm_report_{number}": step for number in range(steps - len(exports))}
    running = {**step, "status": "RUNNING"}
    return {
        "schemaVersion": 1,
        "runId": _RUN_ID,
        "flowKey": "bench_v1",
        "status": "RUNNING",
        "scope": {"symbol": "BTCUSD"},
        "steps": {**exports, **reports, "llm_report_0": running},
    }


def _touched(run: Mapping[str, Any]) -> dict[str, Any]:
    return {**run, "updatedAt": "2026-01-05T09:00:01Z"}


def _finalized(run: Mapping[str, Any]) -> dict[str, Any]:
    steps = run["steps"]
    ended = {**steps["llm_report_0"], "status": "SUCCEEDED"}
    return {**run, "steps": {**steps, "llm_report_0": ended}}


def _readied(run: Mapping[str, Any]) -> dict[str, Any]:
    steps = run["steps"]
    asked = {**steps["llm_report_1"], "status": "READY", "outputs": {}}
    return {**run, "steps": {**steps, "llm_report_1": asked}}


#: What is changed -> how.
READY = "a step READY"
CHANGES: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "others' field": _touched,
    "our finalize": _finalized,
    READY: _readied,
}


def _largest_filler() -> int:
    bare = _run(SIZES[-1], filler=0)
    event = document_event(
        project="bench",
        document_path=f"flow_runs/{_RUN_ID}",
        old=None,
        new=Document(fields=bare, create_time=1_000, update_time=1_000),
        event_id="bench",
        time=_NOW,
    )
    return (_MEBIBYTE - len(event.body)) // SIZES[-1]
