"""A page of the sweep takes little memory, whatever the runs on it contain."""

import json
import subprocess
import sys

from infra.local.processes.bundle import REPOSITORY
from shared.domain.document_size import MAX_DOCUMENT_BYTES

RUNS = 20
#: One such run takes 45 MiB as a message, and its list takes eight as Python's. A page that
#: kept all messages added 921 MiB, and one that decoded all fields added 194 MiB; ours adds 60
#: to 90 MiB.
MOST_BYTES = 160 * 1024 * 1024


def test_twenty_runs_of_a_mebibyte_of_booleans_take_the_memory_of_one_or_two() -> None:
    command = [sys.executable, "-m", "tests.support.large_page", str(RUNS)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True)

    said = json.loads(done.stdout)
    assert [data for data, _ in said["runs"]] == [{"status": "RUNNING"}] * RUNS
    assert all(0 < MAX_DOCUMENT_BYTES - size < 4_096 for _, size in said["runs"])
    assert said["addedBytes"] < MOST_BYTES
