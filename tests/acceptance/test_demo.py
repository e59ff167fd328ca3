"""`worker-llm demo` as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infra.local.processes.bundle import REPOSITORY


def demo(data_dir: Path, *options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "infra.ops.main", "demo", "--json", *options]
    done = subprocess.run(
        [*command, "--data-dir", str(data_dir)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.timeout(600)
def test_the_demo_ends_well_and_does_so_again_in_the_same_folder(tmp_path: Path) -> None:
    """The reports of an earlier demo lie elsewhere, so the next has no conflict with them."""
    for _ in range(2):
        result = demo(tmp_path, "--embedded")

        assert result["backend"] == "embedded"
        assert result["unexpected"] == []
        assert result["firestoreCalls"] >= 3 * sum(step["llmCalls"] for step in result["steps"])
        assert {step["status"] for step in result["steps"]} == {"SUCCEEDED", "FAILED"}
