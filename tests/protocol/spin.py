"""Spin's verifier of the model: it is generated, compiled and run."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.protocol.events import Trace

MODEL = Path(__file__).with_name("protocol.pml")
_SECONDS = 600
_MOST_STEPS = 100_000
#: The limits are those of production, with as many claims as a simulated run comes to.
_REPLAYED = {"MORE": 1, "BAD_ANSWERS": 1, "ACTS": 1, "ATTEMPTS": 5, "CALLS": 5, "WAKES": 2}
_CLAIMS = 12


class SpinMissing(Exception):
    """Spin or a C compiler is not installed: `make model` does that, as root, on Debian."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of an exhaustive search."""

    states: int
    errors: int
    #: The first assertion that fails.
    violated: str
    #: Whether the search reached every state.
    exhaustive: bool


def installed() -> bool:
    """Whether Spin and a C compiler are there, so that the model can be checked."""
    return bool(shutil.which("spin") and shutil.which("gcc"))


def verified(defines: Mapping[str, int]) -> Verdict:
    """Search all states of the model with these definitions.

    Raises:
        SpinMissing: it cannot be done here.
    """
    with tempfile.TemporaryDirectory() as folder:
        said = _run(Path(folder), defines, ["-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=2500"], [])
    states = re.search(r"(\d+) states, stored", said)
    errors = re.search(r"errors: (\d+)", said)
    violated = re.search(r"assertion violated (.*?) \(at depth", said)
    if states is None or errors is None:
        raise RuntimeError(said)
    cut_off = "max search depth too small" in said or "Search not completed" in said
    found = int(errors[1])
    return Verdict(
        states=int(states[1]),
        errors=found,
        violated=violated[1].strip() if violated else "",
        exhaustive=not found and not cut_off,
    )


def refused(traces: Sequence[Trace]) -> Sequence[Trace]:
    """The traces that no execution of the model follows to the end.

    Raises:
        SpinMissing: it cannot be done here.
    """
    if not traces:
        return []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "traces.h").write_text(_header(traces))
        defines = {**_REPLAYED, "REPLAY": 1, "TRACES": len(traces), "CLAIMS": _CLAIMS}
        said = _run(Path(folder), defines, ["-DSAFETY", "-DNOREDUCE"], ["-E"])
    if "Search not completed" in said or "too small" in said:
        raise RuntimeError(said)
    accepted = {int(number) for number in re.findall(r"accepted (\d+)", said)}
    return [trace for number, trace in enumerate(traces) if number not in accepted]


def _header(traces: Sequence[Trace]) -> str:
    longest = max(map(len, traces)) + 1
    rows = ",\n".join(
        "{" + ",".join(str(int(event)) for event in (*t, 0)) + "}" for t in traces
    )
    return (
        f"static const unsigned char traces[{len(traces)}][{longest}] = {{\n{rows}\n}};\n"
        f"static char accepted[{len(traces)}];\n"
        "static void accept(int trace) {\n"
        '  if (!accepted[trace]) printf("accepted %d\\n", trace);\n'
        "  accepted[trace] = 1;\n"
        "}\n"
    )


def _run(
    folder: Path, defines: Mapping[str, int], compiled: Sequence[str], options: Sequence[str]
) -> str:
    if not installed():
        raise SpinMissing
    shutil.copy(MODEL, folder)
    named = [f"-D{name}={value}" for name, value in defines.items()]
    _call(folder, ["spin", "-a", *named, MODEL.name])
    _call(folder, ["gcc", "-O2", "-w", *compiled, "-o", "pan", "pan.c"])
    return _call(folder, ["./pan", f"-m{_MOST_STEPS}", *options])


def _call(folder: Path, command: Sequence[str]) -> str:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout
