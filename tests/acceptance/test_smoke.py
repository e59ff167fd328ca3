"""The smoke test on the local environment: it passes, it notices, and it leaves no trace."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from infra.local.emulators.finding import Missing, find_emulators
from infra.local.environment import local_environment
from infra.local.plan import LocalEnvironment
from infra.local.state_file import read_state
from infra.ops.cli.options import Where
from infra.ops.smoke.commands import show_smoke

_SECONDS = 120.0
_COLLECTIONS = ("flow_runs", "llm_jobs", "llm_prompts", "llm_schemas", "llm_spend")
pytestmark = [pytest.mark.emulators, pytest.mark.timeout(600)]


@asynccontextmanager
async def running(data_dir: Path) -> AsyncIterator[LocalEnvironment]:
    found = find_emulators(os.environ, Path.home())
    if isinstance(found, Missing) and not os.environ.get("CI"):
        pytest.skip("; ".join(found.reasons))
    async with local_environment(embedded=False, data_dir=data_dir, say=print) as environment:
        yield environment


async def documents_left(data_dir: Path) -> dict[str, int]:
    state = read_state(data_dir)
    assert state is not None
    root = f"http://{state.firestore_host}/v1/projects/{state.project}/databases/(default)"
    left = {}
    async with httpx2.AsyncClient(trust_env=False, timeout=_SECONDS) as client:
        for name in _COLLECTIONS:
            answer = await client.get(
                f"{root}/documents/{name}", headers={"authorization": "Bearer owner"}
            )
            left[name] = len(answer.json().get("documents", ()))
    return {name: count for name, count in left.items() if count}


async def test_a_working_environment_passes_and_nothing_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = Where(local=True, data_dir=tmp_path)
    async with running(tmp_path) as environment:
        code = await show_smoke(where, model=None, wait_seconds=_SECONDS, as_json=False)
        printed = capsys.readouterr().out

        assert (code, await documents_left(tmp_path)) == (0, {})
        assert not list(environment.objects.root.rglob("*SMOKE*/**/*.json"))
        assert "a report was written, a step failed as it must" in printed


async def test_an_environment_that_does_nothing_fails_and_nothing_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = Where(local=True, data_dir=tmp_path)
    async with running(tmp_path):
        state = read_state(tmp_path)
        assert state is not None
        push = f"projects/{state.project}/subscriptions/llm-jobs-push:modifyPushConfig"
        async with httpx2.AsyncClient(trust_env=False, timeout=_SECONDS) as client:
            await client.post(f"http://{state.pubsub_host}/v1/{push}", json={"pushConfig": {}})

        code = await show_smoke(where, model=None, wait_seconds=2, as_json=True)
        printed = capsys.readouterr().out

        assert (code, await documents_left(tmp_path)) == (1, {})
        found = json.loads(printed)
        assert found.keys() == {"model", "runs", "problems"}
        assert "the run that must succeed: R" in printed
