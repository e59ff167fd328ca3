"""The file by which other processes find the running local environment."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local.state_file import (
    AlreadyUp,
    EnvironmentState,
    claimed,
    publish_state,
    read_state,
)

KILLED = """
import os, sys
from pathlib import Path
from infra.local.state_file import claimed
with claimed(Path(sys.argv[1])):
    Path(sys.argv[1], "environment.json").write_text("{}")
    os.kill(os.getpid(), 9)
"""


def state(tmp_path: Path) -> EnvironmentState:
    return EnvironmentState(
        pid=os.getpid(),
        backend="emulators",
        project="local-1",
        bucket="local-artifacts",
        object_folder=tmp_path / "objects",
        log_folder=tmp_path / "logs",
        firestore_host="127.0.0.1:1",
        pubsub_host=None,
        urls={"executor": "http://127.0.0.1:2"},
    )


def test_a_running_environment_is_found_with_all_its_places(tmp_path: Path) -> None:
    with claimed(tmp_path):
        publish_state(tmp_path, state(tmp_path))

        assert read_state(tmp_path) == state(tmp_path)
        # The console's URL holds the key to it.
        assert (tmp_path / "environment.json").stat().st_mode & 0o777 == 0o600


def test_an_environment_that_ended_or_is_starting_is_not_found(tmp_path: Path) -> None:
    assert read_state(tmp_path / "no-such-folder") is None
    with claimed(tmp_path):
        assert read_state(tmp_path) is None
        publish_state(tmp_path, state(tmp_path))

    assert read_state(tmp_path) is None
    assert not (tmp_path / "environment.json").exists()


def test_what_a_killed_process_left_behind_is_not_taken_for_running(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False)

    assert ended.returncode == -9
    assert (tmp_path / "environment.json").exists()
    assert read_state(tmp_path) is None
    with claimed(tmp_path):
        assert not (tmp_path / "environment.json").exists()


def test_a_second_environment_in_the_same_folder_is_refused_with_what_to_do(
    tmp_path: Path,
) -> None:
    with claimed(tmp_path):
        publish_state(tmp_path, state(tmp_path))

        with pytest.raises(AlreadyUp, match=rf"process {os.getpid()}.*--data-dir"):  # noqa: SIM117
            with claimed(tmp_path):
                raise AssertionError("two environments in one folder")

        assert read_state(tmp_path) is not None
