"""The bundles as they are deployed: installed by the builder's pip, started by the platform.

On the Python that Terraform deploys, with the oldest pip that its runtime may carry and the
newest, from a local index alone: what pip refuses, or what only development installs, fails
here and not in the cloud.
"""

from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from infra.local.processes.bundle import Stage, zip_bundle
from infra.local.processes.functions import function_environ
from infra.local.serving.free_ports import LOOPBACK
from tests.support.deployed_bundle import (
    INSTALL_SECONDS,
    NEWEST_PIP,
    OLDEST_PIP,
    START_SECONDS,
    CannotInstall,
    Installed,
    install,
    no_bundle,
    running,
)

_NOWHERE = f"{LOOPBACK}:1"
_EVENT_HEADERS = {
    "ce-id": "1",
    "ce-source": "//firestore.googleapis.com/projects/p/databases/(default)",
    "ce-specversion": "1.0",
    "ce-type": "google.cloud.firestore.document.v1.written",
    "ce-subject": "documents/elsewhere/x",
    "content-type": "application/protobuf",
}
_EVERY_PIP = pytest.mark.parametrize("pip", [OLDEST_PIP, NEWEST_PIP], ids=["oldest", "newest"])
pytestmark = pytest.mark.timeout(2 * INSTALL_SECONDS + 3 * START_SECONDS)

Installing = Callable[[Stage, str], Installed]


@pytest.fixture
def environ() -> dict[str, str]:
    """Settings as in the cloud; the services are where nothing listens."""
    return {
        **function_environ("example-project", gemini_url=f"http://{_NOWHERE}"),
        "FIRESTORE_EMULATOR_HOST": _NOWHERE,
        "PUBSUB_EMULATOR_HOST": _NOWHERE,
        "STORAGE_EMULATOR_HOST": f"http://{_NOWHERE}",
    }


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installing:
    """Installs each bundle once with each pip."""
    folder = tmp_path_factory.mktemp("bundles")
    known: dict[tuple[Stage, str], Installed] = {}

    def once(stage: Stage, pip: str) -> Installed:
        try:
            return known.get((stage, pip)) or known.setdefault(
                (stage, pip), install(folder, stage, pip)
            )
        except CannotInstall as reason:
            no_bundle(reason)
            raise

    return once


def post(url: str, **request: object) -> httpx2.Response:
    return httpx2.post(url, trust_env=False, timeout=START_SECONDS, **request)  # type: ignore[arg-type]


@pytest.mark.bundles
@_EVERY_PIP
def test_the_dispatchers_bundle_runs_both_its_functions(
    installed: Installing, pip: str, environ: dict[str, str]
) -> None:
    bundle = installed("dispatcher", pip)

    with running("dispatch", bundle, environ, "cloudevent") as url:
        ignored = post(url, content=b"\x0a\x00", headers=_EVENT_HEADERS)
    with running("sweep", bundle, environ, "http") as url:
        unavailable = post(url)

    assert ignored.status_code == 200
    log = (bundle.bundle.parent / "dispatch.log").read_text()
    assert '"event":"cloud_event_ignored"' in log
    assert unavailable.status_code == 503
    # Due jobs, running runs and waiting jobs are asked for, each part once.
    assert unavailable.json()["failed"] == {"StoreUnavailable": 3}


@pytest.mark.bundles
@_EVERY_PIP
def test_the_executors_bundle_runs(
    installed: Installing, pip: str, environ: dict[str, str]
) -> None:
    bundle = installed("executor", pip)

    with running("execute", bundle, environ, "http") as url:
        refused = post(url, content=b"no push")

    assert refused.status_code == 400
    assert '"event":"job_rejected"' in (bundle.bundle.parent / "execute.log").read_text()


@pytest.mark.bundles
def test_a_bundle_with_a_bad_setting_says_so_and_does_not_start(
    installed: Installing, environ: dict[str, str]
) -> None:
    bundle = installed("dispatcher", NEWEST_PIP)
    del environ["JOBS_TOPIC"]

    with (
        pytest.raises(AssertionError, match="JOBS_TOPIC is required"),
        running("dispatch", bundle, environ, "cloudevent"),
    ):
        pass


@pytest.mark.parametrize("stage", ["dispatcher", "executor"])
def test_the_real_sources_give_the_same_archive_twice(stage: Stage, tmp_path: Path) -> None:
    first = zip_bundle(stage, tmp_path / "first.zip")
    second = zip_bundle(stage, tmp_path / "second.zip")

    assert first == second
    assert (tmp_path / "first.zip").read_bytes() == (tmp_path / "second.zip").read_bytes()
