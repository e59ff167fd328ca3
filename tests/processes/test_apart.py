"""Measurements in processes of their own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from infra.local.processes.bundle import REPOSITORY

_SECONDS = 60.0


def test_a_part_ends_with_the_process_that_wanted_it(tmp_path: Path) -> None:
    told = tmp_path / "pid"
    (tmp_path / "dozing.py").write_text(
        "import os, pathlib, sys, time\n"
        "pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))\n"
        "time.sleep(600)\n"
    )
    code = (
        "from tests.benchmarks.apart import measured_apart\n"
        f"measured_apart('dozing', [{str(told)!r}], within_seconds=600)"
    )
    environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, env=environ) as wanting:
        _until(lambda: told.exists() and told.read_text() != "")
        part = Path("/proc", told.read_text())
        assert part.exists()
        wanting.kill()

    _until(lambda: not part.exists())


def _until(reached: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + _SECONDS
    while not reached():
        assert time.monotonic() < ends_at
        time.sleep(0.02)
