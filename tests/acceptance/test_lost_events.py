"""The sweep of the local environment finds what no event tells of, with real processes."""

import asyncio
import os
from pathlib import Path

import pytest

from infra.local.demo import seed, step_results
from infra.local.emulators.finding import Missing, find_emulators
from infra.local.emulators.relay import EVENT_LIMIT_BYTES
from infra.local.environment import local_environment
from infra.local.gemini import create_app
from infra.local.overrides import EnvironmentOverrides
from infra.local.scenario.model import Expectation, Scenario
from infra.local.scenario.prompts import prompt_documents
from infra.local.scenario.schemas import schema_documents
from infra.local.scenario.single import single_report_run
from infra.local.serving.asgi import serve
from shared.domain.documents import DocumentRef
from shared.domain.identifiers import RunId, StepId
from shared.domain.job_documents import job_ref

pytestmark = pytest.mark.emulators

RUN_ID, STEP_ID = RunId("20260105-090000_BTCUSDT_big"), StepId("llm_report_1d")
BUCKET = "local-artifacts"
PATIENCE_SECONDS = 90


def large_scenario() -> Scenario:
    """A run that Firestore stores, but that is too large for Eventarc to deliver."""
    run, objects = single_report_run(bucket=BUCKET, run_id=RUN_ID)
    return Scenario(
        prompts=prompt_documents(),
        schemas=schema_documents(),
        objects=objects,
        runs={RUN_ID: {**run, "notes": "x" * (EVENT_LIMIT_BYTES + 1)}},
        expectations=[Expectation(run_id=RUN_ID, step_id=STEP_ID, status="SUCCEEDED")],
    )


async def test_a_run_above_the_event_size_limit_is_claimed_by_the_sweep(
    tmp_path: Path,
) -> None:
    found = find_emulators(os.environ, Path.home())
    if isinstance(found, Missing) and not os.environ.get("CI"):
        pytest.skip("; ".join(found.reasons))
    scenario, app = large_scenario(), create_app()
    async with (
        serve(app, name="Gemini stand-in") as gemini_url,
        local_environment(
            embedded=False,
            data_dir=tmp_path,
            say=print,
            gemini_url=gemini_url,
            tuning=EnvironmentOverrides(sweep_every_seconds=1.0),
        ) as environment,
    ):
        await seed(environment, scenario)
        step = None
        async with asyncio.timeout(PATIENCE_SECONDS):
            while step is None or not step.ended:
                await asyncio.sleep(0.5)
                [step] = await step_results(environment, scenario.expectations)
        refs = [job_ref(RUN_ID, STEP_ID), DocumentRef("flow_runs", RUN_ID)]
        job, run = await environment.documents.read(refs, timeout_seconds=10)
        instruments = environment.instruments
        assert instruments is not None
        counters = instruments.relay.counters

    assert (step.status, step.llm_calls) == ("SUCCEEDED", 1)
    assert sum(app.state.calls.received.values()) == 1
    assert job is not None
    assert job.data["eventId"].startswith("sweep-")
    # Neither the run's creation nor the worker's own writes could reach the dispatcher as
    # events.
    assert (counters.delivered, counters.dropped["too_large"]) == (0, 3)
    assert run is not None
    assert len(run.data["notes"]) > EVENT_LIMIT_BYTES
