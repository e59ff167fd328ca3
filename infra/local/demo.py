"""The demo: seed a scenario, watch its steps end, and compare with what was expected."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from infra.local.plan import LocalEnvironment
from infra.local.scenario.model import Expectation, Scenario
from infra.local.state_file import Backend
from shared.domain.documents import Create, DocumentRef
from shared.domain.identifiers import RunId, StepId
from shared.domain.job_documents import job_ref
from shared.domain.steps import StepStatus

WAIT_SECONDS = 120.0
_POLL_SECONDS = 0.25
_CALL_SECONDS = 10.0
_TERMINAL = frozenset(
    {StepStatus.SUCCEEDED, StepStatus.FAILED, StepStatus.SKIPPED, StepStatus.CANCELLED}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """How one LLM_REPORT step stands; `llm_calls` is None where it was never claimed."""

    run_id: str
    step_id: str
    status: str
    error_code: str | None
    gcs_uri: str | None
    llm_calls: int | None
    duration_ms: int | None
    total_tokens: int | None

    @property
    def ended(self) -> bool:
        """Whether the step is in a terminal status."""
        return self.status in _TERMINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """What became of the scenario; `unexpected` is empty if all ended as it should."""

    backend: Backend
    steps: Sequence[StepResult]
    firestore_calls: int
    unexpected: Sequence[str]

    def as_json(self) -> dict[str, Any]:
        """The result as `worker-llm demo --json` prints it."""
        return {
            "backend": self.backend,
            "steps": [_step_json(step) for step in self.steps],
            "firestoreCalls": self.firestore_calls,
            "unexpected": list(self.unexpected),
        }


#: Called with how all steps stand, after each look.
Progress: TypeAlias = Callable[[Sequence[StepResult]], None]


async def run_demo(
    environment: LocalEnvironment,
    scenario: Scenario,
    *,
    progress: Progress,
    wait_seconds: float = WAIT_SECONDS,
) -> DemoResult:
    """Seed the scenario and wait, at most `wait_seconds`, until every step has ended."""
    await seed(environment, scenario)
    expected = scenario.expectations
    steps = await _watched(environment, expected, progress, wait_seconds)
    return DemoResult(
        backend=environment.backend,
        steps=steps,
        firestore_calls=environment.firestore_calls(),
        unexpected=differences(steps, expected),
    )


async def seed(environment: LocalEnvironment, scenario: Scenario) -> None:
    """Store prompts, schemas and objects, then the runs, whose events start the work."""
    for item in scenario.objects:
        environment.objects.create_bucket(item.bucket)
        environment.objects.write(
            item.bucket, item.name, item.data, content_type=item.content_type
        )
    for collection, documents in (
        ("llm_prompts", scenario.prompts),
        ("llm_schemas", scenario.schemas),
        ("flow_runs", scenario.runs),
    ):
        for document_id, data in documents.items():
            write = Create(ref=DocumentRef(collection, document_id), data=data)
            await environment.documents.commit([write], timeout_seconds=_CALL_SECONDS)


async def step_results(
    environment: LocalEnvironment, expected: Sequence[Expectation]
) -> Sequence[StepResult]:
    """How the expected steps stand now, read together with their job records."""
    run_ids = list(dict.fromkeys(item.run_id for item in expected))
    runs = [DocumentRef("flow_runs", run_id) for run_id in run_ids]
    jobs = [job_ref(RunId(item.run_id), StepId(item.step_id)) for item in expected]
    found = await environment.documents.read([*runs, *jobs], timeout_seconds=_CALL_SECONDS)
    data = [snapshot.data if snapshot else {} for snapshot in found]
    by_run = dict(zip(run_ids, data, strict=False))
    return [
        _result(item, by_run[item.run_id], job)
        for item, job in zip(expected, data[len(runs) :], strict=True)
    ]


def differences(
    steps: Sequence[StepResult], expected: Sequence[Expectation]
) -> tuple[str, ...]:
    """A sentence for each step that did not end as expected."""
    return tuple(
        f"{want.run_id} {want.step_id}: {_ending(step.status, step.error_code)}, "
        f"expected {_ending(want.status, want.error_code)}"
        for step, want in zip(steps, expected, strict=True)
        if (step.status, step.error_code) != (want.status, want.error_code)
    )


async def _watched(
    environment: LocalEnvironment,
    expected: Sequence[Expectation],
    progress: Progress,
    wait_seconds: float,
) -> Sequence[StepResult]:
    """How the steps stand at the end: when all have ended, or when the wait is over."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait_seconds
    while True:
        steps = await step_results(environment, expected)
        progress(steps)
        if all(step.ended for step in steps) or loop.time() >= deadline:
            return steps
        await asyncio.sleep(_POLL_SECONDS)


def _ending(status: str, error_code: str | None) -> str:
    return f"{status} {error_code}" if error_code else status


def _result(item: Expectation, run: Mapping[str, Any], job: Mapping[str, Any]) -> StepResult:
    step = _map(_map(run.get("steps")).get(item.step_id))
    outputs = _map(step.get("outputs"))
    execution = _map(outputs.get("execution"))
    usage = _map(_map(execution.get("llm")).get("usageMetadata"))
    return StepResult(
        run_id=item.run_id,
        step_id=item.step_id,
        status=str(step.get("status", "MISSING")),
        error_code=_map(step.get("error")).get("code"),
        gcs_uri=outputs.get("gcs_uri"),
        llm_calls=job.get("llmCalls"),
        duration_ms=_map(execution.get("timing")).get("durationMs"),
        total_tokens=usage.get("totalTokenCount"),
    )


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _step_json(step: StepResult) -> dict[str, Any]:
    return {
        "runId": step.run_id,
        "stepId": step.step_id,
        "status": step.status,
        "errorCode": step.error_code,
        "gcsUri": step.gcs_uri,
        "llmCalls": step.llm_calls,
        "durationMs": step.duration_ms,
    }
