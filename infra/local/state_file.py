"""How other processes find the local environment that runs in a folder.

While an environment is up, it holds a lock beside `environment.json`, which says where its
parts answer. The lock goes with the process however that ends, so a file that was left behind
is never taken for a running environment.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from infra.failures import CannotBeDone

Backend: TypeAlias = Literal["emulators", "embedded"]

_STATE = "environment.json"
_LOCK = "environment.lock"


class AlreadyUp(CannotBeDone):
    """Another environment runs in this folder; the message says which, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentState:
    """Where a running environment's parts are.

    `firestore_host` and `pubsub_host` are host:port; None where the environment runs embedded,
    since its documents and messages are in its own process then. `urls` are those of its
    servers, by name.
    """

    pid: int
    backend: Backend
    project: str
    bucket: str
    object_folder: Path
    log_folder: Path
    firestore_host: str | None
    pubsub_host: str | None
    urls: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        """The content of `environment.json`."""
        return {
            "pid": self.pid,
            "backend": self.backend,
            "project": self.project,
            "bucket": self.bucket,
            "objectFolder": str(self.object_folder),
            "logFolder": str(self.log_folder),
            "firestoreHost": self.firestore_host,
            "pubsubHost": self.pubsub_host,
            "urls": dict(self.urls),
        }


@contextmanager
def claimed(data_dir: Path) -> Iterator[None]:
    """Hold the folder for one environment while the block lasts.

    Raises:
        AlreadyUp: another process holds it.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / _LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyUp(_already_up(data_dir)) from None
        (data_dir / _STATE).unlink(missing_ok=True)
        try:
            yield
        finally:
            (data_dir / _STATE).unlink(missing_ok=True)


def publish_state(data_dir: Path, state: EnvironmentState) -> None:
    """Say where the parts are, within `claimed`; readers see all of it or nothing.

    The file is its owner's alone: the console's URL holds the key to it.
    """
    staged = data_dir / f"{_STATE}.{os.getpid()}"
    staged.unlink(missing_ok=True)
    staged.touch(mode=0o600)
    staged.write_text(json.dumps(state.as_json(), indent=2) + "\n", encoding="utf-8")
    staged.replace(data_dir / _STATE)


def read_state(data_dir: Path) -> EnvironmentState | None:
    """The environment that runs in this folder; None when none does, or not yet."""
    if not _is_held(data_dir / _LOCK):
        return None
    with suppress(FileNotFoundError):
        return _parsed(json.loads((data_dir / _STATE).read_text(encoding="utf-8")))
    return None


def _is_held(lock_path: Path) -> bool:
    try:
        with lock_path.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def _parsed(data: Mapping[str, Any]) -> EnvironmentState:
    return EnvironmentState(
        pid=data["pid"],
        backend=data["backend"],
        project=data["project"],
        bucket=data["bucket"],
        object_folder=Path(data["objectFolder"]),
        log_folder=Path(data["logFolder"]),
        firestore_host=data["firestoreHost"],
        pubsub_host=data["pubsubHost"],
        urls=data["urls"],
    )


def _already_up(data_dir: Path) -> str:
    state = read_state(data_dir)
    who = f"process {state.pid}" if state else "it is just starting"
    return (
        f"a local environment is up in {data_dir} already ({who}): "
        "end it, or choose another folder with --data-dir"
    )
