"""More steps than the provider takes in a minute, through real processes on the emulators.

QUOTA_STEPS=60 QUOTA_PER_MINUTE=30 makes it as large as docs/reliability.md tells of; without
them it is smaller, so that it takes little more than a minute.
"""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from executor.contract.tiers import ServiceTier
from infra.local.demo import seed, step_results
from infra.local.emulators.finding import Missing, find_emulators
from infra.local.environment import local_environment
from infra.local.gemini import create_app
from infra.local.gemini.tiers import TierRule, WhenFull
from infra.local.scenario.model import Expectation, Scenario
from infra.local.scenario.prompts import prompt_documents
from infra.local.scenario.schemas import schema_documents
from infra.local.scenario.single import single_report_run
from infra.local.serving.asgi import serve

pytestmark = pytest.mark.emulators

STEPS = int(os.environ.get("QUOTA_STEPS", "16"))
PER_MINUTE = int(os.environ.get("QUOTA_PER_MINUTE", "10"))
BUCKET, STEP = "local-artifacts", "llm_report_1d"
#: As long as the quota takes, and the same time again for a loaded machine.
PATIENCE_SECONDS = 120 * (STEPS / PER_MINUTE + 2)


def scenario() -> Scenario:
    """Runs of one report each, all of which begin at once."""
    run_ids = [f"20260105-090000_BTCUSDT_q{number:03}" for number in range(STEPS)]
    made = {run_id: single_report_run(bucket=BUCKET, run_id=run_id) for run_id in run_ids}
    return Scenario(
        prompts=prompt_documents(),
        schemas=schema_documents(),
        objects=[item for _, objects in made.values() for item in objects],
        runs={run_id: run for run_id, (run, _) in made.items()},
        expectations=[
            Expectation(run_id=run_id, step_id=STEP, status="SUCCEEDED") for run_id in run_ids
        ],
    )


async def shown_quota(data_dir: Path) -> dict[str, Any]:
    """What `worker-llm quota` prints."""
    command = [sys.executable, "-m", "infra.ops.main", "quota", "--json", "--local"]
    done = await asyncio.to_thread(
        subprocess.run,
        [*command, "--data-dir", str(data_dir)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    shown: dict[str, Any] = json.loads(done.stdout)
    return shown


@pytest.mark.timeout(900)
async def test_more_steps_than_a_minute_s_quota_all_succeed_and_each_is_billed_once(
    tmp_path: Path,
) -> None:
    found = find_emulators(os.environ, Path.home())
    if isinstance(found, Missing) and not os.environ.get("CI"):
        pytest.skip("; ".join(found.reasons))
    asked, app = scenario(), create_app()
    app.state.tiers.set(
        [
            TierRule(
                tier=ServiceTier.STANDARD,
                capacity=1_000,
                when_full=WhenFull.LIMIT,
                per_minute=PER_MINUTE,
            )
        ]
    )
    most_waiting = 0
    async with (
        serve(app, name="Gemini stand-in") as gemini_url,
        local_environment(
            embedded=False, data_dir=tmp_path, say=print, gemini_url=gemini_url
        ) as environment,
    ):
        await seed(environment, asked)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                shown = await shown_quota(tmp_path)
                waiting = [
                    each["waiting"]["jobs"] for each in shown["quotas"] if each["waiting"]
                ]
                most_waiting = max(most_waiting, *waiting, 0)
                steps = await step_results(environment, asked.expectations)
                if all(step.ended for step in steps):
                    break
                await asyncio.sleep(2)
        calls = app.state.calls

    assert {(step.status, step.llm_calls) for step in steps} == {("SUCCEEDED", 1)}
    assert sum(calls.answered.values()) == STEPS
    refused = sum(calls.received.values()) - STEPS
    assert 0 < refused <= STEPS
    assert 0 < most_waiting < STEPS
