"""What the figures were taken on."""

import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def machine() -> dict[str, str]:
    """The facts that figures depend on."""
    cpu = next(
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    memory = Path("/proc/meminfo").read_text().splitlines()[0].split()[1]
    return {
        "processor": f"{os.cpu_count()} cores of {cpu}",
        "memory": f"{int(memory) / 2**20:.0f} GiB",
        "Python": platform.python_version(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}"
        f" {platform.machine()}",
    }


def load_now() -> str:
    """Processes that wanted to run, on the average of the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


def cpu_milliseconds(group: int) -> float:
    """Processor time that the processes of the group took so far; in steps of some 10 ms."""
    ticks = 0
    for folder in processes(group):
        with suppress(OSError):  # it ended meanwhile
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return 1000 * ticks / os.sysconf("SC_CLK_TCK")


def processes(group: int) -> Iterator[Path]:
    """The folders in /proc of the processes of the group."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it ended meanwhile
            if int(stat.read_text().rpartition(")")[2].split()[2]) == group:
                yield stat.parent
