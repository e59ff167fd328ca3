"""The local environment on the emulators: real processes, started from bundles, and no rest.

The dispatcher is the deployed one; the executor here is a stub that says what it was sent.
"""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from infra.local.demo import StepResult, differences, seed, step_results
from infra.local.emulators.finding import Missing, find_emulators
from infra.local.environment import EmulatorsMissing, local_environment
from infra.local.plan import LocalEnvironment
from infra.local.processes.bundle import REPOSITORY
from infra.local.processes.children import ChildProcess, ProcessFailed
from infra.local.scenario.model import Expectation, Scenario, SeedObject

RUN_ID = "20260101-000000_BTCUSDT_abc"
STEP_ID = "1d:report"
GEMINI = "http://127.0.0.1:1"
EXECUTOR = """
import json, os, sys
import executor
import functions_framework.aio

@functions_framework.aio.http
async def execute(request):
    seen = {"body": json.loads(await request.body()), "code": executor.__file__}
    seen["environ"] = dict(os.environ)
    print(json.dumps(seen), flush=True)
    return "", 200
"""


def scenario() -> Scenario:
    step = {"stepType": "LLM_REPORT", "status": "READY", "timeframe": "1d", "inputs": {}}
    return Scenario(
        prompts={},
        schemas={},
        objects=[SeedObject(bucket="b-1", name="a", data=b"1", content_type="text/plain")],
        runs={RUN_ID: {"status": "RUNNING", "steps": {STEP_ID: step}}},
        expectations=[Expectation(run_id=RUN_ID, step_id=STEP_ID, status="SUCCEEDED")],
    )


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """The packages of the project, with a stub in the place of the executor's code."""
    root = tmp_path / "sources"
    for package in ("dispatcher", "shared"):
        shutil.copytree(REPOSITORY / package, root / package)
    (root / "executor").mkdir()
    (root / "executor/__init__.py").touch()
    (root / "executor/requirements.txt").touch()
    (root / "executor/main.py").write_text(EXECUTOR)
    return root


@asynccontextmanager
async def running(tmp_path: Path, sources: Path) -> AsyncIterator[LocalEnvironment]:
    found = find_emulators(os.environ, Path.home())
    if isinstance(found, Missing) and not os.environ.get("CI"):
        pytest.skip("; ".join(found.reasons))
    async with local_environment(
        embedded=False,
        data_dir=tmp_path / "data",
        say=print,
        environ={**os.environ, "GOOGLE_APPLICATION_CREDENTIALS": "canary"},
        gemini_url=GEMINI,
        sources=sources,
    ) as environment:
        yield environment


async def pushed(log: Path) -> dict[str, Any]:
    """The messages that the stub was sent, once there are any."""
    for _ in range(200):
        if seen := _sent(log):
            return seen
        await asyncio.sleep(0.1)
    raise AssertionError("nothing was pushed within 20 seconds")


def _sent(log: Path) -> dict[str, Any] | None:
    lines = (line for line in log.read_text().splitlines() if line.startswith('{"body"'))
    return next((json.loads(line) for line in lines), None)


@pytest.mark.emulators
async def test_a_ready_step_goes_through_real_events_and_a_real_push(
    tmp_path: Path, sources: Path
) -> None:
    async with running(tmp_path, sources) as environment:
        await seed(environment, scenario())
        seen = await pushed(environment.log_folder / "executor.log")
        [step] = await step_results(environment, scenario().expectations)

    assert seen["body"]["message"]["attributes"]["stepId"] == STEP_ID
    assert seen["body"]["subscription"].startswith(f"projects/{environment.project}/")
    assert seen["code"].startswith(str(tmp_path / "data/bundles/executor"))
    assert "GOOGLE_APPLICATION_CREDENTIALS" not in seen["environ"]
    assert seen["environ"]["GEMINI_BASE_URL"] == GEMINI
    assert (step.status, step.llm_calls) == ("RUNNING", 0)
    assert (environment.objects.root / "b-1/a").read_bytes() == b"1"
    assert not any(process.is_running for process in environment.processes)


@pytest.mark.emulators
async def test_a_crash_of_one_part_ends_everything_and_is_named(
    tmp_path: Path, sources: Path
) -> None:
    processes: list[ChildProcess] = []

    async def kill_and_wait() -> None:
        async with running(tmp_path, sources) as environment:
            processes.extend(environment.processes)
            [victim] = [part for part in processes if part.name == "dispatcher"]
            os.killpg(victim.pid, signal.SIGKILL)
            await asyncio.sleep(60)

    with pytest.raises(ProcessFailed, match="dispatcher ended by itself"):
        await kill_and_wait()

    assert len(processes) == 5
    assert not any(process.is_running for process in processes)


@pytest.mark.emulators
async def test_a_function_that_does_not_start_leaves_nothing_running(
    tmp_path: Path, sources: Path
) -> None:
    (sources / "executor/main.py").write_text("raise SystemExit('bad settings: X')")

    with pytest.raises(ProcessFailed, match="bad settings: X"):
        async with running(tmp_path, sources):
            pass


@pytest.fixture
def no_tools(tmp_path: Path) -> dict[str, str]:
    """An environment in which neither gcloud nor Java is found."""
    return {"PATH": str(tmp_path), "FIREBASE_EMULATORS_PATH": str(tmp_path)}


async def test_emulators_that_were_asked_for_and_are_missing_are_an_error(
    tmp_path: Path, no_tools: dict[str, str]
) -> None:
    with pytest.raises(EmulatorsMissing, match="gcloud components install"):
        async with local_environment(
            embedded=False, data_dir=tmp_path, say=print, environ=no_tools, gemini_url=GEMINI
        ):
            pass


def test_a_step_that_ended_otherwise_is_told_in_a_sentence() -> None:
    [wanted] = scenario().expectations
    step = _ended("FAILED", "PROMPT_NOT_FOUND")

    assert differences([step], [wanted]) == (
        f"{RUN_ID} {STEP_ID}: FAILED PROMPT_NOT_FOUND, expected SUCCEEDED",
    )
    assert differences([_ended("SUCCEEDED", None)], [wanted]) == ()


def _ended(status: str, error_code: str | None) -> StepResult:
    return StepResult(
        run_id=RUN_ID,
        step_id=STEP_ID,
        status=status,
        error_code=error_code,
        gcs_uri=None,
        llm_calls=None,
        duration_ms=None,
        total_tokens=None,
    )
