"""Jobs dead-lettered by a broken bundle, replayed after the fix: real emulators, real kills."""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette

from infra.local.demo import StepResult, seed, step_results
from infra.local.emulators.clients import subscriber_client
from infra.local.emulators.finding import Missing, find_emulators
from infra.local.emulators.pubsub import DEAD_LETTER_SUBSCRIPTION, PUSH_SUBSCRIPTION
from infra.local.environment import local_environment
from infra.local.gemini import create_app
from infra.local.overrides import EnvironmentOverrides
from infra.local.plan import LocalEnvironment
from infra.local.processes.bundle import REPOSITORY, write_bundle
from infra.local.scenario.model import Expectation, Scenario, SeedObject
from infra.local.scenario.prompts import prompt_documents
from infra.local.scenario.schemas import schema_documents
from infra.local.scenario.single import single_report_run
from infra.local.serving.asgi import serve
from infra.ops.dead_letters.box import PubSubDeadLetters, pulled
from infra.ops.dead_letters.letter import DeadLetter
from shared.domain.identifiers import RunId, StepId
from shared.domain.job_documents import job_ref

pytestmark = [pytest.mark.emulators, pytest.mark.timeout(600)]

BUCKET, STEP_ID = "local-artifacts", StepId("llm_report_1d")
JOBS = 8
PATIENCE_SECONDS = 400
#: The fewest attempts that Pub/Sub allows.
DELIVERY_ATTEMPTS = 5
BROKEN = """
import functions_framework.aio

@functions_framework.aio.http
async def execute(request):
    raise RuntimeError("a bundle that cannot work")
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A running environment, the folder by which the command line finds it, and its model."""

    environment: LocalEnvironment
    data_dir: Path
    gemini: Starlette

    async def steps(self) -> Sequence[StepResult]:
        """The statuses of all steps."""
        return await step_results(self.environment, scenario().expectations)

    async def replayed(self) -> int:
        """How many job records mention a replay."""
        refs = [job_ref(RunId(want.run_id), STEP_ID) for want in scenario().expectations]
        jobs = await self.environment.documents.read(refs, timeout_seconds=10)
        return sum("operatorActs" in job.data for job in jobs if job)

    async def command(self, *arguments: str) -> asyncio.subprocess.Process:
        """The command line, as an operator starts it."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "infra.ops.main", "dead-letters", *arguments),
            *("--local", "--data-dir", str(self.data_dir), "--json"),
            cwd=REPOSITORY,
            stdout=asyncio.subprocess.PIPE,
        )

    async def output(self, *arguments: str) -> dict[str, Any]:
        """What the command line printed."""
        process = await self.command(*arguments)
        printed, _ = await process.communicate()
        result: dict[str, Any] = json.loads(printed)
        return result

    async def letters(self) -> Sequence[DeadLetter]:
        """The dead letters that nobody holds."""
        name = f"projects/{self.environment.project}/subscriptions/{DEAD_LETTER_SUBSCRIPTION}"
        host = self.environment.addresses["Pub/Sub emulator"]
        async with (
            subscriber_client(host) as client,
            pulled(PubSubDeadLetters(client, name), limit=100) as held,
        ):
            return [one.letter for one in held.values()]


def scenario() -> Scenario:
    """Runs of one report each."""
    runs: dict[str, Any] = {}
    objects: list[SeedObject] = []
    for number in range(JOBS):
        run_id = f"20260105-09000{number}_BTCUSDT_dead"
        runs[run_id], inputs = single_report_run(bucket=BUCKET, run_id=run_id)
        objects.extend(inputs)
    return Scenario(
        prompts=prompt_documents(),
        schemas=schema_documents(),
        objects=objects,
        runs=runs,
        expectations=[
            Expectation(run_id=run_id, step_id=STEP_ID, status="SUCCEEDED") for run_id in runs
        ],
    )


@asynccontextmanager
async def broken_environment(tmp_path: Path) -> AsyncIterator[Site]:
    """An environment whose executor fails at every push, and which gives up a message soon."""
    found = find_emulators(os.environ, Path.home())
    if isinstance(found, Missing) and not os.environ.get("CI"):
        pytest.skip("; ".join(found.reasons))
    sources, data_dir, gemini = tmp_path / "sources", tmp_path / "data", create_app()
    for package in ("dispatcher", "executor", "shared"):
        shutil.copytree(REPOSITORY / package, sources / package)
    (sources / "executor/main.py").write_text(BROKEN)
    async with (
        serve(gemini, name="Gemini stand-in") as gemini_url,
        local_environment(
            embedded=False,
            data_dir=data_dir,
            say=print,
            gemini_url=gemini_url,
            sources=sources,
            # The sweep would bring the jobs back too; here only the replay may do so.
            tuning=EnvironmentOverrides(sweep_every_seconds=86_400),
        ) as environment,
    ):
        await give_up_soon(environment)
        yield Site(environment=environment, data_dir=data_dir, gemini=gemini)


async def give_up_soon(environment: LocalEnvironment) -> None:
    """Make the push subscription anew, with the fewest attempts and no retry policy.

    With one, the emulator delivers some messages a few times, and then no more for minutes.
    """
    root = f"projects/{environment.project}"
    url = f"http://{environment.addresses['Pub/Sub emulator']}/v1/{root}/subscriptions"
    async with httpx2.AsyncClient(trust_env=False, timeout=10) as client:
        name = f"{url}/{PUSH_SUBSCRIPTION}"
        resource = (await client.get(name)).raise_for_status().json()
        (await client.delete(name)).raise_for_status()
        del resource["name"], resource["retryPolicy"]
        resource["deadLetterPolicy"]["maxDeliveryAttempts"] = DELIVERY_ATTEMPTS
        (await client.put(name, json=resource)).raise_for_status()


async def until_half_is_replayed(site: Site) -> None:
    """Return when the tool, which replays one job a second, is in the middle of its work."""
    while await site.replayed() < JOBS // 2:  # noqa: ASYNC110 -- another process does it
        await asyncio.sleep(0.05)


async def mend(site: Site) -> None:
    """Deploy the right bundle."""
    write_bundle("executor", site.data_dir / "bundles/executor")
    assert site.environment.instruments is not None
    await site.environment.instruments.functions["executor"].restart()


async def test_a_broken_bundle_s_dead_letters_are_replayed_although_the_tool_is_killed(
    tmp_path: Path,
) -> None:
    async with broken_environment(tmp_path) as site, asyncio.timeout(PATIENCE_SECONDS):
        await seed(site.environment, scenario())
        while len({one.job and one.job.run_id for one in await site.letters()}) < JOBS:
            pass
        assert {step.status for step in await site.steps()} == {"RUNNING"}
        forecast = await site.output("replay", "--dry-run")
        await mend(site)

        tool = await site.command("replay", "--rate", "1", "--yes")
        await until_half_is_replayed(site)
        tool.send_signal(signal.SIGKILL)
        await tool.communicate()
        half = await site.replayed()
        # The letters that the killed replay held come back after a while; each replay does what
        # is left.
        while not all(step.ended for step in await site.steps()):
            await site.output("replay", "--yes")
        await site.output("replay", "--yes")
        steps, left = await site.steps(), await site.letters()

    assert forecast["counts"]["replay"] == JOBS
    assert forecast["paidModelCalls"] == {"atLeast": JOBS, "atMost": 5 * JOBS}
    assert JOBS // 2 <= half < JOBS
    assert {(step.status, step.llm_calls) for step in steps} == {("SUCCEEDED", 1)}
    assert sum(site.gemini.state.calls.received.values()) == JOBS
    assert left == []
