"""Which environment a command reaches, and what it says when there is none."""

import os
from pathlib import Path

import pytest

from infra.local.state_file import EnvironmentState, claimed, publish_state
from infra.ops.cli.options import Where
from infra.ops.environment.connection import NotConnected, connect


def state(tmp_path: Path, *, embedded: bool = False) -> EnvironmentState:
    return EnvironmentState(
        pid=os.getpid(),
        backend="embedded" if embedded else "emulators",
        project="local-1",
        bucket="local-artifacts",
        object_folder=tmp_path,
        log_folder=tmp_path,
        firestore_host=None if embedded else "127.0.0.1:1",
        pubsub_host=None,
        urls={"console": "http://127.0.0.1:2"},
    )


async def test_without_a_project_the_running_local_environment_is_meant(tmp_path: Path) -> None:
    with claimed(tmp_path):
        publish_state(tmp_path, state(tmp_path))
        async with connect(Where(data_dir=tmp_path), environ={}) as connection:
            assert connection.name == "local-1 (emulators)"
            assert connection.local is not None


async def test_local_wins_over_the_project_of_the_environment(tmp_path: Path) -> None:
    environ = {"GCP_PROJECT": "production"}
    with claimed(tmp_path):
        publish_state(tmp_path, state(tmp_path))
        async with connect(Where(local=True, data_dir=tmp_path), environ) as connection:
            assert connection.project == "local-1"


async def test_both_local_and_a_project_are_refused(tmp_path: Path) -> None:
    where = Where(local=True, project="production", data_dir=tmp_path)

    with pytest.raises(NotConnected, match="exclude each other"):
        async with connect(where, environ={}):
            pass


async def test_without_any_environment_the_user_is_told_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(NotConnected, match=r"worker-llm up.*--project"):
        async with connect(Where(data_dir=tmp_path), environ={}):
            pass


async def test_of_an_embedded_environment_the_user_is_sent_to_its_console(
    tmp_path: Path,
) -> None:
    with claimed(tmp_path):
        publish_state(tmp_path, state(tmp_path, embedded=True))
        with pytest.raises(NotConnected, match=r"console at http://127.0.0.1:2.*--emulators"):
            async with connect(Where(data_dir=tmp_path), environ={}):
                pass
