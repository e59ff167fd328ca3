"""`make bench`: measure part by part, and write `docs/benchmarks.md`.

python -m tests.benchmarks [--quick] [PART …]

Each part runs in a process of its own, and what it measured is kept when it ends: a part that
fails leaves the others' figures, and can be measured again for itself.
"""

import argparse
import sys
import time
from pathlib import Path

from pydantic import TypeAdapter

from infra.local.processes.bundle import REPOSITORY
from tests.benchmarks.apart import NotMeasured, measured_apart
from tests.benchmarks.machine import load_now, machine
from tests.benchmarks.parts import PARTS
from tests.benchmarks.report import DOCS, keep


def main() -> None:
    """Measure the parts that were named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="A tenth of the samples, to build/benchmarks."
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--raw", type=Path, help="Measure one part here, and write it there.")
    chosen = parser.parse_args()
    if unknown := set(chosen.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    if chosen.raw:
        figures = PARTS[chosen.parts[0]].measure(chosen.quick)
        chosen.raw.write_text(TypeAdapter(object).dump_json(figures).decode())
        return
    folder = REPOSITORY / "build/benchmarks" if chosen.quick else DOCS
    failed = [
        name for name in chosen.parts or PARTS if not _measure(name, folder, quick=chosen.quick)
    ]
    _say(f"written: {folder / 'benchmarks.md'}")
    if failed:
        sys.exit(f"not measured, former figures stay: {' '.join(failed)}")


def _measure(name: str, folder: Path, *, quick: bool) -> bool:
    """Measure one part and put it on the page; whether that worked."""
    part, begun, load = PARTS[name], time.monotonic(), load_now()
    _say(f"measuring: {name} (load {load})")
    arguments = [name, *(["--quick"] if quick else [])]
    try:
        figures = measured_apart(
            "tests.benchmarks", arguments, within_seconds=part.limit_seconds
        )
    except NotMeasured as problem:
        _say(f"{name}: {problem}")
        return False
    seconds = round(time.monotonic() - begun)
    _say(f"{name}: {seconds} s")
    keep(
        folder,
        name,
        {"figures": figures, "seconds": seconds, "load before": load, "machine": machine()},
    )
    return True


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    main()
