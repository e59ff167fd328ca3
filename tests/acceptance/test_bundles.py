"""The bundles as they are deployed: started by the framework's own command, alone.

Each gets a fresh virtual environment with its own requirements and nothing else, as the
builder makes it: a module that only development installs fails here and not in the cloud.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2
import pytest

from infra.local.bundle import Stage, write_bundle, zip_bundle
from infra.local.local_functions import function_environ
from infra.local.ports import LOOPBACK, free_port

_NOWHERE = f"{LOOPBACK}:1"
_INSTALL_SECONDS = 600
_START_SECONDS = 120
_EVENT_HEADERS = {
    "ce-id": "1",
    "ce-source": "//firestore.googleapis.com/projects/p/databases/(default)",
    "ce-specversion": "1.0",
    "ce-type": "google.cloud.firestore.document.v1.written",
    "ce-subject": "documents/elsewhere/x",
    "content-type": "application/protobuf",
}
pytestmark = pytest.mark.timeout(_INSTALL_SECONDS + 3 * _START_SECONDS)


@pytest.fixture
def environ() -> dict[str, str]:
    """Settings as in the cloud; the services are where nothing listens."""
    return {
        **function_environ("example-project", gemini_url=f"http://{_NOWHERE}"),
        "FIRESTORE_EMULATOR_HOST": _NOWHERE,
        "PUBSUB_EMULATOR_HOST": _NOWHERE,
        "STORAGE_EMULATOR_HOST": f"http://{_NOWHERE}",
    }


def installed(stage: Stage, folder: Path) -> tuple[Path, Path]:
    """The bundle, and the programs of an environment with its requirements alone."""
    bundle, venv = folder / "bundle", folder / "venv"
    write_bundle(stage, bundle)
    uv, python = Path(sys.prefix) / "bin/uv", venv / "bin/python"
    install: list[str | Path] = [
        uv,
        "pip",
        "install",
        "--quiet",
        "--require-hashes",
        "--python",
        python,
    ]
    commands: list[list[str | Path]] = [
        [uv, "venv", "--quiet", "--python", sys.executable, venv],
        [*install, "-r", bundle / "requirements.txt"],
    ]
    for command in commands:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=_INSTALL_SECONDS
        )
        if done.returncode and not os.environ.get("CI"):
            pytest.skip(f"the requirements cannot be installed: {done.stderr[-500:]}")
        assert done.returncode == 0, done.stderr
    return bundle, venv / "bin"


@contextmanager
def running(
    target: str, bundle: Path, programs: Path, environ: Mapping[str, str], signature: str
) -> Iterator[str]:
    """The function's URL, while it runs by the command that the builder's image runs."""
    port = free_port()
    with (bundle.parent / f"{target}.log").open("w+") as log:
        process = subprocess.Popen(
            [programs / "functions-framework", "--target", target],
            cwd=bundle,
            env={**environ, "PORT": str(port), "FUNCTION_SIGNATURE_TYPE": signature},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            url = f"http://{LOOPBACK}:{port}"
            _wait(url, process, Path(log.name))
            yield url
        finally:
            process.terminate()
            process.wait(_START_SECONDS)


def _wait(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    ends_at = time.monotonic() + _START_SECONDS
    while time.monotonic() < ends_at:
        assert process.poll() is None, log.read_text()
        try:
            httpx2.get(f"{url}/robots.txt", trust_env=False, timeout=10)
        except httpx2.TransportError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError(f"no answer: {log.read_text()}")


def post(url: str, **request: object) -> httpx2.Response:
    return httpx2.post(url, trust_env=False, timeout=_START_SECONDS, **request)  # type: ignore[arg-type]


@pytest.mark.bundles
def test_the_dispatchers_bundle_runs_both_its_functions(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    bundle, programs = installed("dispatcher", tmp_path)

    with running("dispatch", bundle, programs, environ, "cloudevent") as url:
        ignored = post(url, content=b"\x0a\x00", headers=_EVENT_HEADERS)
    with running("sweep", bundle, programs, environ, "http") as url:
        unavailable = post(url)

    assert ignored.status_code == 200
    assert '"event":"cloud_event_ignored"' in (tmp_path / "dispatch.log").read_text()
    assert unavailable.status_code == 503
    assert unavailable.json()["failed"] == {"StoreUnavailable": 2}


@pytest.mark.bundles
def test_the_executors_bundle_runs(tmp_path: Path, environ: dict[str, str]) -> None:
    bundle, programs = installed("executor", tmp_path)

    with running("execute", bundle, programs, environ, "http") as url:
        refused = post(url, content=b"no push")

    assert refused.status_code == 400
    assert '"event":"job_rejected"' in (tmp_path / "execute.log").read_text()


@pytest.mark.bundles
def test_a_bundle_with_a_bad_setting_says_so_and_does_not_start(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    bundle, programs = installed("dispatcher", tmp_path)
    del environ["JOBS_TOPIC"]

    with (
        pytest.raises(AssertionError, match="JOBS_TOPIC is required"),
        running("dispatch", bundle, programs, environ, "cloudevent"),
    ):
        pass


@pytest.mark.parametrize("stage", ["dispatcher", "executor"])
def test_the_real_sources_give_the_same_archive_twice(stage: Stage, tmp_path: Path) -> None:
    first = zip_bundle(stage, tmp_path / "first.zip")
    second = zip_bundle(stage, tmp_path / "second.zip")

    assert first == second
    assert (tmp_path / "first.zip").read_bytes() == (tmp_path / "second.zip").read_bytes()
