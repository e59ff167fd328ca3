"""`worker-llm bootstrap` against a fake gcloud that remembers what it was told."""

import asyncio
import json
import os
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from infra.ops.bootstrap.commands import prepare
from infra.ops.bootstrap.gcloud import Gcloud, GcloudFailed

_FAKE = Path(__file__).parents[1] / "support/fake_gcloud.py"
_ARGUMENTS = ("my-project", "europe-west4", "me/it")
_SECONDS = 120


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which the fake gcloud on the PATH remembers."""
    program = tmp_path / "bin" / "gcloud"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -S {_FAKE} "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_GCLOUD_STATE", str(tmp_path / "state.json"))
    return tmp_path / "state.json"


def remembered(state: Path) -> Mapping[str, Any]:
    """What exists in the project, without how it came to be."""
    known = json.loads(state.read_text())
    return {name: known[name] for name in known if name not in {"log", "changes", "blind"}}


class VirtualSleep:
    """A sleep that takes no time, and adds up how long it would have taken."""

    def __init__(self) -> None:
        self.slept = 0.0

    async def __call__(self, seconds: float) -> None:
        self.slept += seconds


async def test_a_second_run_changes_nothing(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await prepare(*_ARGUMENTS, dry_run=False) == 0
    first = remembered(state)
    capsys.readouterr()

    assert await prepare(*_ARGUMENTS, dry_run=False) == 0

    assert remembered(state) == first
    again = [line for line in capsys.readouterr().out.splitlines() if line[0] != "#"]
    assert {" ".join(line.split()[:5]) for line in again} == {
        "gcloud beta services identity create"
    }


async def test_what_was_just_made_is_waited_for(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in Google Cloud, a grant that names a new account is refused at first."""
    monkeypatch.setenv("FAKE_GCLOUD_BLIND", "3")
    sleep = VirtualSleep()

    assert await prepare(*_ARGUMENTS, dry_run=False, gcloud=Gcloud(sleep)) == 0

    assert len(remembered(state)["policies"]["my-project"]) == 16 + 3
    assert sleep.slept == 2 * (5 + 10 + 20)


async def test_what_never_comes_ends_with_its_own_words(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_GCLOUD_BLIND", "100")
    sleep = VirtualSleep()

    with pytest.raises(GcloudFailed, match=r"llm-deployer@.* does not exist"):
        await prepare(*_ARGUMENTS, dry_run=False, gcloud=Gcloud(sleep))

    assert sleep.slept == 195
    assert remembered(state)["policies"] == {}


async def test_a_bucket_of_somebody_else_ends_at_once(state: Path) -> None:
    sleep = VirtualSleep()
    gcloud = Gcloud(sleep)
    await gcloud.change(("services", "enable", "storage.googleapis.com"))
    taken = ("storage", "buckets", "create", "gs://b", "--location", "europe-west4")
    await gcloud.change(taken)

    with pytest.raises(GcloudFailed, match="409"):
        await gcloud.change(taken)
    assert sleep.slept == 0
    assert len(remembered(state)["buckets"]) == 1


async def test_without_gcloud_it_says_where_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    with pytest.raises(GcloudFailed, match=r"cloud\.google\.com/sdk"):
        await prepare(*_ARGUMENTS, dry_run=False)


@pytest.mark.parametrize("change", [1, 10, 30, 35])
def test_killed_half_way_and_run_again_it_comes_to_the_same_end(
    state: Path, change: int
) -> None:
    command = [sys.executable, "-m", "infra.ops.main", "bootstrap"]
    arguments = ["--project", "my-project", "--region", "europe-west4", "--github", "me/it"]
    killed = subprocess.run(
        [*command, *arguments],
        check=False,
        capture_output=True,
        timeout=_SECONDS,
        env={**os.environ, "FAKE_GCLOUD_KILL": str(change)},
        cwd=_FAKE.parents[2],
    )
    assert killed.returncode == -9

    asyncio.run(prepare(*_ARGUMENTS, dry_run=False))
    end = remembered(state)
    state.unlink()
    asyncio.run(prepare(*_ARGUMENTS, dry_run=False))

    assert end == remembered(state)


def test_a_dry_run_calls_nothing(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asyncio.run(prepare(*_ARGUMENTS, dry_run=True))

    assert not state.exists()
    assert "PROJECT_NUMBER" in capsys.readouterr().out
