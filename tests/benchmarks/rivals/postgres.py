"""A PostgreSQL server from the system's packages, for as long as a block lasts."""

import asyncio
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from infra.local.processes.children import Command, ProcessFailed, running
from infra.local.serving.free_ports import LOOPBACK, free_port, is_free

#: Where Debian puts what a user does not call directly.
_FOLDERS = "/usr/lib/postgresql/*/bin"
_SECONDS = 60.0
#: PostgreSQL refuses to run as root; this account can do nothing else.
_NOBODY = "nobody"


@asynccontextmanager
async def postgres() -> AsyncIterator[str]:
    """The URL of an empty database on the loopback interface.

    Raises:
        ProcessFailed: PostgreSQL is not installed, or did not start.
    """
    with tempfile.TemporaryDirectory() as scratch:
        root, port = Path(scratch), free_port()
        data = root / "data"
        data.mkdir()
        as_user = _as_nobody(root, data)
        await asyncio.to_thread(_initialize, root, data, as_user)
        options = ("-h", LOOPBACK, "-p", str(port), "-k", "")

        async def ready() -> bool:
            return not is_free(port)

        command = Command(
            name="postgres",
            argv=(*as_user, _program("postgres", root), "-D", str(data), *options),
            env={"PATH": os.environ["PATH"]},
            cwd=root,
            log_path=root / "postgres.log",
            ready=ready,
            ready_timeout_seconds=_SECONDS,
        )
        async with running(command):
            yield f"postgresql://postgres@{LOOPBACK}:{port}"


def _initialize(root: Path, data: Path, as_user: Sequence[str]) -> None:
    argv = (_program("initdb", root), "-D", str(data), "-U", "postgres", "--auth=trust")
    log = root / "initdb.log"
    with log.open("wb") as said:
        made = subprocess.run(
            [*as_user, *argv, "--encoding=UTF8", "--no-sync"],
            cwd=root,
            check=False,
            stdout=said,
            stderr=said,
            timeout=_SECONDS,
        )
    if made.returncode:
        raise ProcessFailed("initdb", f"ended with code {made.returncode}", log)


def _as_nobody(*folders: Path) -> Sequence[str]:
    """What has a command run without root's rights; the folders become its own."""
    if os.geteuid():
        return ()
    account = pwd.getpwnam(_NOBODY)
    for folder in folders:
        os.chown(folder, account.pw_uid, account.pw_gid)
    # A change of user makes the kernel forget that it should tell the process of our death.
    identity = (f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups")
    return ("setpriv", *identity, "--pdeathsig", "TERM")


def _program(name: str, root: Path) -> str:
    newest = sorted(Path("/").glob(f"{_FOLDERS.removeprefix('/')}/{name}"), reverse=True)
    found = shutil.which(name) or next(map(str, newest), None)
    if found is None:
        reason = "is not there: install Debian's package postgresql"
        raise ProcessFailed(name, reason, root / f"{name}.log")
    return found
