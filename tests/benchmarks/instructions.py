"""Instructions and allocations, counted by valgrind: load on the machine does not show in them.

The hardware's own counters (`perf stat`) are not there on most virtual machines.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from infra.local.processes.bundle import REPOSITORY
from infra.local.processes.children import tethered
from tests.benchmarks.cold_start import SETTINGS, TARGETS

_VALGRIND = shutil.which("valgrind")
_SECONDS = 600.0
_AT_ONCE = 2
_FEW, _MANY = 20, 120
_STEPS = 500
_IMPORT = "import {module}"
_FILTER = (
    "from tests.benchmarks.filter_cost import repeat_event; repeat_event({steps}, {times})"
)
_INSTRUCTIONS = re.compile(rb"I +refs: +([\d,]+)")
_ALLOCATIONS = re.compile(rb"total heap usage: ([\d,]+) allocs")
_TOOLS: Mapping[str, tuple[tuple[str, ...], re.Pattern[bytes]]] = {
    "instructions": (
        ("--tool=callgrind", "--callgrind-out-file=/dev/null"),
        _INSTRUCTIONS,
    ),
    "allocations": (
        ("--tool=memcheck", "--leak-check=no", "--undef-value-errors=no"),
        _ALLOCATIONS,
    ),
}


class NoInstrument(Exception):
    """Valgrind is not there, or did not count."""


def measure_instructions(*, quick: bool) -> Mapping[str, Mapping[str, float]]:
    """What is counted -> of what -> the count.

    An event's count is the difference of many and few in a process each, by their number:
    start and imports cancel out.

    Raises:
        NoInstrument: See there.
    """
    if _VALGRIND is None:
        raise NoInstrument("no valgrind: install it (Debian: apt-get install valgrind)")
    targets = {name: TARGETS[name] for name in ("dispatcher", "executor", "single function")}
    programs = {} if quick else {name: _IMPORT.format(module=m) for name, m in targets.items()}
    programs |= {
        str(times): _FILTER.format(steps=_STEPS, times=times) for times in (_FEW, _MANY)
    }
    counts: dict[str, Mapping[str, float]] = {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for tool in _TOOLS:
            found = pool.map(lambda code, tool=tool: _counted(tool, code), programs.values())
            raw = dict(zip(programs, found, strict=True))
            event = (raw.pop(str(_MANY)) - raw.pop(str(_FEW))) / (_MANY - _FEW)
            imports = {f"import of the {name}": float(count) for name, count in raw.items()}
            counts[tool] = {**imports, f"event of {_STEPS} steps that asks for nothing": event}
    return counts


def _counted(tool: str, code: str) -> int:
    options, pattern = _TOOLS[tool]
    # Python's own allocator asks the system for much at once: allocations would not be seen.
    chosen = {"PYTHONHASHSEED": "0", "PYTHONMALLOC": "malloc"} if tool == "allocations" else {}
    done = subprocess.run(
        tethered([_VALGRIND or "valgrind", *options, sys.executable, "-c", code]),
        env={**os.environ, **SETTINGS, "PYTHONHASHSEED": "0", **chosen},
        cwd=REPOSITORY,
        check=False,
        capture_output=True,
        timeout=_SECONDS,
    )
    found = pattern.search(done.stderr)
    if done.returncode or not found:
        raise NoInstrument(f"valgrind counted nothing: {done.stderr[-500:].decode()}")
    return int(found[1].replace(b",", b""))
