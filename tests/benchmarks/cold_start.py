"""What a new instance costs before it works: time and memory from nothing to imported."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infra.local.processes.bundle import REPOSITORY

SETTINGS = {
    "GCP_PROJECT": "bench",
    "JOBS_TOPIC": "jobs",
    "DEAD_LETTER_TOPIC": "dead",
    "ARTIFACTS_BUCKET": "bench-artifacts",
    "GEMINI_API_KEY": "none",
    "GEMINI_BASE_URL": "http://127.0.0.1:1",
}
# Not getrusage: its largest size includes that of the process it was forked from.
_IMPORT = (
    "import {module}; print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
)
# On Linux all processes share this clock. The end of the interpreter is no part of a start.
_THEN = "\nimport time; print(time.perf_counter())"
#: Certificates of this machine's own network, which the executor looks at.
_OF_THIS_NETWORK = ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
LIBRARIES = "libraries that these two load"
#: The name in the tables -> the module that holds the entry point.
TARGETS: Mapping[str, str] = {
    "functions-framework alone": "functions_framework",
    "dispatcher": "dispatcher.main",
    "executor": "executor.main",
    "single function": "tests.benchmarks.single_function",
    LIBRARIES: "tests.benchmarks.libraries",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStart:
    """Samples of one entry point, in the order of the rounds."""

    seconds: Sequence[float]
    mebibytes: Sequence[float]


def as_deployed(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what no instance has."""
    return {name: value for name, value in environ.items() if name not in _OF_THIS_NETWORK}


def measure_cold_starts(rounds: int) -> Mapping[str, ColdStart]:
    """Import each entry point in a new interpreter, in turn, so many times."""
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in TARGETS}
    for _ in range(rounds):
        for name, module in TARGETS.items():
            samples[name].append(_imported(module))
    return {
        name: ColdStart(
            seconds=[seconds for seconds, _ in taken],
            mebibytes=[mebibytes for _, mebibytes in taken],
        )
        for name, taken in samples.items()
    }


def _imported(module: str) -> tuple[float, float]:
    return run_timed(_IMPORT.format(module=module))


def run_timed(script: str) -> tuple[float, float]:
    """Seconds until a new interpreter has run the script, and MiB: it prints its KiB."""
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", script + _THEN],
        env={**as_deployed(os.environ), **SETTINGS},
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    )
    kibibytes, ended = done.stdout.split()
    return float(ended) - begun, int(kibibytes) / 1024
