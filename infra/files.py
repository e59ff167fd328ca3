"""Reading the files that a user names, however large or odd they are."""

import stat
from pathlib import Path

from infra.failures import CannotBeDone


class FileUnfit(CannotBeDone):
    """The file is none that can be read; the message names it and says why."""


def read_bounded(path: Path, most_bytes: int) -> bytes:
    """The bytes of a regular file, if they are no more than this.

    A device has no size and no end, and opening a pipe may wait for ever.

    Raises:
        FileUnfit: it is a device, a pipe or a folder, or it is larger.
        OSError: it cannot be read.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise FileUnfit(f"{path}: is not a regular file")
    with path.open("rb") as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise FileUnfit(f"{path}: more than {most_bytes} bytes")
    return data
