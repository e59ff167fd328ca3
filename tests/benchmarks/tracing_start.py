"""What tracing costs at a cold start: `python -m tests.benchmarks.tracing_start [ROUNDS]`.

Each function is imported in a new interpreter, in turn, as it is with no endpoint set, as it
would be were there no tracing, and with what an endpoint makes it load. Medians of one run on
one machine: their ratio says something, the seconds alone do not.
"""

import statistics
import sys
from collections.abc import Iterator, Mapping

from tests.benchmarks.cold_start import run_timed

_ROUNDS = 15
_MEMORY = "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
_ABSENT = ("shared.adapters.tracing", "opentelemetry.sdk", "opentelemetry.exporter")
#: As a script sees it, by what the table calls it; the first is what the others are held to.
_WAYS: Mapping[str, str] = {
    "no tracing in the code": "import sys; sys.modules.update(dict.fromkeys({absent}))\n"
    "import {stage}.main",
    "no endpoint set": "import {stage}.main",
    "an endpoint set": "import {stage}.main, {stage}.traced",
}


def measure(stage: str, rounds: int) -> Mapping[str, float]:
    """The median of the seconds to import, by way."""
    absent = [*_ABSENT, f"{stage}.traced"]
    scripts = {
        way: f"{script.format(stage=stage, absent=absent)}\n{_MEMORY}"
        for way, script in _WAYS.items()
    }
    samples: dict[str, list[float]] = {way: [] for way in scripts}
    for _ in range(rounds):
        for way, script in scripts.items():
            samples[way].append(run_timed(script)[0])
    return {way: statistics.median(taken) for way, taken in samples.items()}


def _table(rounds: int) -> Iterator[str]:
    yield f"| function | {' | '.join(_WAYS)} |"
    yield "| --- |" + " ---: |" * len(_WAYS)
    for stage in ("dispatcher", "executor"):
        medians = measure(stage, rounds)
        alone = next(iter(medians.values()))
        cells = [f"{seconds:.3f} s ({seconds / alone:.2f})" for seconds in medians.values()]
        yield f"| {stage} | {' | '.join(cells)} |"


if __name__ == "__main__":
    for line in _table(int(sys.argv[1]) if sys.argv[1:] else _ROUNDS):
        sys.stdout.write(f"{line}\n")
