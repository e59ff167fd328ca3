"""A measurement in a process of its own, with an end to its time."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from infra.local.processes.bundle import REPOSITORY
from infra.local.processes.children import tethered

_GOODBYE_SECONDS = 30.0


class NotMeasured(Exception):
    """A measurement failed or took too long; the message says which."""


def measured_apart(module: str, arguments: Sequence[str], *, within_seconds: float) -> Any:
    """What `python -m MODULE ARGUMENT… --raw FILE` writes to the file, as JSON.

    A part that fails costs the others nothing: neither their memory, nor their clients, nor
    what they have measured.

    Raises:
        NotMeasured: It ended with a failure, or not in time. None of its processes is left.
    """
    with tempfile.TemporaryDirectory() as scratch:
        raw = Path(scratch, "raw.json")
        argv = (sys.executable, "-m", module, *arguments, "--raw", str(raw))
        child = subprocess.Popen(tethered(argv), cwd=REPOSITORY, start_new_session=True)
        try:
            code = child.wait(within_seconds)
        except subprocess.TimeoutExpired:
            raise NotMeasured(f"not over after {within_seconds:.0f} seconds") from None
        finally:
            _end(child)
        if code:
            raise NotMeasured(f"ended with code {code}")
        return json.loads(raw.read_text(encoding="utf-8"))


def _end(child: subprocess.Popen[bytes]) -> None:
    """Interrupt what still runs, so that it ends its own processes; then end it by force."""
    # What it started is told by the kernel when it dies (see `infra.local.processes.tether`).
    for number in (signal.SIGINT, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with suppress(subprocess.TimeoutExpired):
            child.wait(_GOODBYE_SECONDS)
