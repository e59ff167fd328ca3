"""The smoke test on the local environment: it passes, it finds faults, it leaves no trace."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from infra.local.emulators.finding import Missing, find_emulators
from infra.local.environment import local_environment
from infra.local.overrides import EnvironmentOverrides
from infra.local.plan import LocalEnvironment
from infra.local.state_file import read_state
from infra.ops.cli.options import Where
from infra.ops.doctor.commands import show_doctor
from infra.ops.smoke.commands import show_smoke

_SECONDS = 120.0
_COLLECTIONS = ("flow_runs", "llm_jobs", "llm_prompts", "llm_schemas", "llm_spend")
pytestmark = [pytest.mark.emulators, pytest.mark.timeout(600)]


SECRET = 32 * "s"


@asynccontextmanager
async def running(data_dir: Path, **settings: str) -> AsyncIterator[LocalEnvironment]:
    found = find_emulators(os.environ, Path.home())
    if isinstance(found, Missing) and not os.environ.get("CI"):
        pytest.skip("; ".join(found.reasons))
    tuning = EnvironmentOverrides(settings=settings)
    async with local_environment(
        embedded=False, data_dir=data_dir, say=print, tuning=tuning
    ) as environment:
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
        assert "hooks: off" in printed


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
        assert found.keys() == {"model", "runs", "hooks", "problems"}
        assert found["hooks"] == "off"
        assert "the run that must succeed: R" in printed


async def test_hooks_are_tried_where_calls_are_announced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    where = Where(local=True, data_dir=tmp_path)
    async with running(tmp_path, GEMINI_API="interactions", WEBHOOK_SECRET=SECRET) as site:
        without = await show_smoke(where, model=None, wait_seconds=_SECONDS, as_json=True)
        unsigned = json.loads(capsys.readouterr().out)
        monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
        code = await show_smoke(where, model=None, wait_seconds=_SECONDS, as_json=True)
        signed = json.loads(capsys.readouterr().out)
        monkeypatch.setenv("WEBHOOK_SECRET", 32 * "w")
        other = await show_smoke(where, model=None, wait_seconds=_SECONDS, as_json=True)
        refused = json.loads(capsys.readouterr().out)

        assert await documents_left(tmp_path) == {}
        log = (site.log_folder / "notify.log").read_text()
        doctor = await show_doctor(where, as_json=True)
        healthy = json.loads(capsys.readouterr().out)
        assert site.instruments is not None
        await site.instruments.functions["notify"].stop()
        await show_doctor(where, as_json=True)
        found = json.loads(capsys.readouterr().out)["findings"]

    assert (without, unsigned["hooks"], unsigned["problems"]) == (0, "forged", [])
    assert (code, signed["hooks"], signed["problems"]) == (0, "all", [])
    assert (other, refused["hooks"]) == (1, "all")
    assert refused["problems"] == ["a hook with a signed address: 404 instead of 204"]
    # Each time there is a forged hook, and the hook that another secret signed.
    assert log.count("hook_rejected") == 4
    assert (doctor, healthy["findings"]) == (0, [])
    assert [each["subject"] for each in found] == ["llm-notify"]
