"""`make model`: the model has no error, its breakages have one, and simulated runs obey it."""

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

from tests.protocol.checks import CHECKS, ILLEGAL, Check
from tests.protocol.events import Trace
from tests.protocol.recording import CHUNK, recorded
from tests.protocol.spin import SpinMissing, refused, verified


def say(line: object) -> None:
    """Print a line at once, but where figures alone are wanted."""
    if not os.environ.get("JSON"):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What one check came to."""

    check: Check
    states: int
    violated: str
    as_expected: bool

    def __str__(self) -> str:
        what = (
            f"found in {self.states} states: {self.violated}"
            if self.violated
            else (f"0 errors in all {self.states} states")
        )
        return f"{self.check.what}: {what}" + ("" if self.as_expected else "  <-- NOT EXPECTED")


def _checked(check: Check) -> Checked:
    verdict = verified(check.defines)
    as_expected = bool(verdict.errors) if check.has_error else verdict.exhaustive
    violated = verdict.violated or ("a dead end" if verdict.errors else "")
    return Checked(
        check=check, states=verdict.states, violated=violated, as_expected=as_expected
    )


def _traces(least: int) -> Counter[Trace]:
    """So many traces of simulated runs."""
    found: Counter[Trace] = Counter()
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        first = 0
        while found.total() < least:
            ahead = 2 * (os.cpu_count() or 1)
            firsts = range(first, first + ahead * CHUNK, CHUNK)
            for traces in pool.map(recorded, firsts):
                found.update(traces)
            first += ahead * CHUNK
    return found


def _told(name: str, traces: Sequence[Trace]) -> None:
    for trace in sorted(traces, key=len)[:3]:
        say(f"{name}: {' '.join(event.name for event in trace)}")


def main() -> int:
    """Check the model; 1 when anything is not as expected."""
    parser = argparse.ArgumentParser(prog="python -m tests.protocol", description=__doc__)
    parser.add_argument("--traces", type=int, default=10_000, help="of simulated steps")
    parser.add_argument("--small", action="store_true", help="only what takes seconds")
    arguments = parser.parse_args()
    begun = time.monotonic()
    try:
        checked = [_checked(check) for check in CHECKS if check.small or not arguments.small]
        for each in checked:
            say(each)
        traces = _traces(arguments.traces)
        wrong = refused(list(traces))
        planted = refused(ILLEGAL)
    except SpinMissing as problem:
        sys.stderr.write(f"{problem.__doc__}\n")
        return 1
    say(
        f"traces of simulated steps: {traces.total()}, {len(traces)} of them different"
        f"; {sum(traces[trace] for trace in wrong)} refused by the model"
    )
    say(f"planted illegal traces: {len(planted)} of {len(ILLEGAL)} refused")
    _told("REFUSED", wrong)
    sound = all(each.as_expected for each in checked)
    if os.environ.get("JSON"):
        figures = {
            "checks": [
                {"what": x.check.what, "states": x.states, "violated": x.violated}
                for x in checked
            ],
            "traces": traces.total(),
            "different": len(traces),
            "refused": sum(traces[trace] for trace in wrong),
            "refusedTraces": [" ".join(event.name for event in trace) for trace in wrong],
            "planted": len(ILLEGAL),
            "plantedRefused": len(planted),
            "seconds": round(time.monotonic() - begun, 1),
        }
        sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    return 0 if sound and not wrong and len(planted) == len(ILLEGAL) else 1


if __name__ == "__main__":
    sys.exit(main())
