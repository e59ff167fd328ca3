"""What the figures were taken on."""

import os
import platform
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
