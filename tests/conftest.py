"""What tests of several folders share: the official emulators, and a project of one's own."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from infra.local.emulators.finding import Found, Missing, find_emulators
from tests.support.emulators import Emulators, in_thread

# A loaded machine is slow, and no test is about time: only wrong answers may fail a property.
hypothesis.settings.register_profile(
    "patient",
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    print_blob=True,
)
hypothesis.settings.load_profile("patient")


@pytest.fixture
def project_id() -> str:
    """Return a project that no other test uses, which isolates documents and triggers."""
    return f"test-{os.getpid()}-{time.time_ns()}"


@pytest.fixture(scope="session")
def emulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulators]:
    """Run both emulators once per process; skip without them, or fail when CI is set."""
    match find_emulators(os.environ, Path.home()):
        case Missing(reasons=reasons):
            _report_missing("; ".join(reasons))
        case Found() as found:
            yield from in_thread(found, tmp_path_factory.mktemp("emulators"))


def _report_missing(reasons: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(f"CI needs the emulators: {reasons}", pytrace=False)
    pytest.skip(reasons)
