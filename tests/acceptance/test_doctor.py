"""The doctor on the running local environment: clean, then one finding per planted fault."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest

from infra.local.demo import seed
from infra.local.emulators.finding import Missing, find_emulators
from infra.local.environment import local_environment
from infra.local.plan import LocalEnvironment
from infra.local.processes.functions import BUCKET
from infra.local.scenario.model import Scenario
from infra.local.scenario.prompts import prompt_documents
from infra.local.scenario.schemas import schema_documents
from infra.local.scenario.single import single_report_run
from infra.local.state_file import EnvironmentState, publish_state, read_state
from infra.ops.cli.options import Where
from infra.ops.doctor.commands import examine
from infra.ops.doctor.facts import CheckResult
from infra.ops.environment.connection import connect
from shared.domain.documents import Create, DocumentRef

_SECONDS = 60
_PROMPT, _SCHEMA = "llm_prompt_1doctor_report_v1_0", "llm_schema_1doctor_report_v1_0"
pytestmark = [pytest.mark.emulators, pytest.mark.timeout(600)]


class Patient:
    """The environment under examination."""

    def __init__(self, environment: LocalEnvironment, data_dir: Path) -> None:
        state = read_state(data_dir)
        assert state is not None
        self.environment, self.data_dir, self.state = environment, data_dir, state

    async def findings(self) -> list[CheckResult]:
        async with connect(Where(local=True, data_dir=self.data_dir)) as connection:
            return list(await examine(connection))

    async def told(self) -> str:
        """All findings as one text."""
        return "\n".join(f"{f.subject}: {f.problem}" for f in await self.findings())

    async def pubsub(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> Any:
        url = f"http://{self.state.pubsub_host}/v1/projects/{self.state.project}/{path}"
        async with httpx2.AsyncClient(trust_env=False, timeout=_SECONDS) as client:
            answer = await client.request(method, url, json=body)
        answer.raise_for_status()
        return answer.json()

    def publish(self, **urls: str) -> None:
        """Say that parts of the environment are at other addresses than they are."""
        state: EnvironmentState = replace(self.state, urls={**self.state.urls, **urls})
        publish_state(self.data_dir, state)

    async def create(self, collection: str, name: str, data: dict[str, Any]) -> None:
        write = Create(ref=DocumentRef(collection, name), data=data)
        await self.environment.documents.commit([write], timeout_seconds=_SECONDS)


async def test_the_doctor_finds_nothing_in_health_and_each_planted_fault(
    tmp_path: Path,
) -> None:
    found = find_emulators(os.environ, Path.home())
    if isinstance(found, Missing) and not os.environ.get("CI"):
        pytest.skip("; ".join(found.reasons))
    async with local_environment(embedded=False, data_dir=tmp_path, say=print) as environment:
        patient = Patient(environment, tmp_path)

        assert await patient.findings() == []
        await queue_faults(patient)
        await part_faults(patient)
        await step_faults(patient)
        # This runs in a thread, as this process serves parts of the environment.
        await asyncio.to_thread(assert_the_command_says_so, tmp_path)


async def queue_faults(patient: Patient) -> None:
    path = "subscriptions/llm-jobs-push"
    push = await patient.pubsub("GET", path)
    endpoint = push["pushConfig"]["pushEndpoint"]

    await patient.pubsub("POST", f"{path}:modifyPushConfig", {"pushConfig": {}})
    assert "llm-jobs-push: pushing is paused" in await patient.told()

    elsewhere = {"pushConfig": {"pushEndpoint": "http://127.0.0.1:1"}}
    await patient.pubsub("POST", f"{path}:modifyPushConfig", elsewhere)
    assert "it pushes to http://127.0.0.1:1" in await patient.told()

    await patient.pubsub("DELETE", path)
    assert "llm-jobs-push: there is no such subscription" in await patient.told()

    careless = {"topic": push["topic"], "ackDeadlineSeconds": 10}
    careless["pushConfig"] = {"pushEndpoint": endpoint}
    await patient.pubsub("PUT", path, careless)
    told = await patient.told()
    assert "comes again after 10 s" in told
    assert "no dead-letter policy" in told

    await patient.pubsub("DELETE", path)
    mended = {
        **careless,
        "ackDeadlineSeconds": 600,
        "deadLetterPolicy": push["deadLetterPolicy"],
    }
    await patient.pubsub("PUT", path, mended)
    assert await patient.findings() == []

    dead_letters = "subscriptions/llm-jobs-dead-letter-pull"
    topic = (await patient.pubsub("GET", dead_letters))["topic"]
    await patient.pubsub("DELETE", dead_letters)
    assert "llm-jobs-dead-letter-pull: there is no such" in await patient.told()
    await patient.pubsub("PUT", dead_letters, {"topic": topic})
    assert await patient.findings() == []


async def part_faults(patient: Patient) -> None:
    patient.publish(dispatcher="http://127.0.0.1:1")
    assert "llm-dispatcher: it does not answer at http://127.0.0.1:1" in await patient.told()

    patient.publish(**{"Gemini stand-in": "http://127.0.0.1:1"})
    assert "Gemini stand-in: it does not answer" in await patient.told()
    patient.publish()

    bucket, away = (patient.state.object_folder / name for name in (BUCKET, "away"))
    bucket.rename(away)
    assert f"gs://{BUCKET}: there is no such bucket" in await patient.told()
    away.rename(bucket)
    assert await patient.findings() == []


async def step_faults(patient: Patient) -> None:
    """Plant a step that waits for another one: what it refers to can still be mended."""
    run, objects = single_report_run(bucket=BUCKET, run_id="20260105-090000_EURUSD_doc001")
    step = run["steps"]["llm_report_1d"]
    step["status"] = "PENDING"
    step["inputs"]["llm"]["promptId"] = _PROMPT
    step["inputs"]["llm"]["llmProfile"]["structuredOutput"] = {
        "schemaId": _SCHEMA,
        "kind": "LLM_REPORT_OUTPUT",
    }
    scenario = Scenario(
        prompts={}, schemas={}, objects=objects, runs={run["runId"]: run}, expectations=[]
    )
    await seed(patient.environment, scenario)
    told = await patient.told()
    assert f"{_PROMPT}: there is no such prompt" in told
    assert f"{_SCHEMA}: there is no such schema" in told

    prompt = next(iter(prompt_documents().values()))
    schema = next(iter(schema_documents().values()))
    await patient.create("llm_prompts", _PROMPT, {**prompt, "userPrompt": 7})
    await patient.create(
        "llm_schemas", _SCHEMA, {**schema, "schemaId": _SCHEMA, "sha256": "0" * 64}
    )
    told = await patient.told()
    assert f"{_PROMPT}: prompt {_PROMPT}.userPrompt" in told
    assert f"{'0' * 64} is claimed" in told


def assert_the_command_says_so(data_dir: Path) -> None:
    argv = [sys.executable, "-m", "infra.ops.main", "doctor", "--local", "--json"]
    done = subprocess.run(
        [*argv, "--data-dir", str(data_dir)],
        check=False,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
    )
    levels = [finding["level"] for finding in json.loads(done.stdout)["findings"]]

    # Found are the planted hash, and that the sample's schema invites an empty report.
    assert sorted(levels) == ["problem", *["warning"] * 3]
    assert done.returncode == 1
    assert "1 problems, 3 warnings" in done.stderr
