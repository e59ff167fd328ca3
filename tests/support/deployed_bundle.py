"""A bundle installed and started as the platform does it.

The builder installs with pip and these flags, into the user's folder of the runtime's own
Python, and compiles what it installed
(https://github.com/GoogleCloudPlatform/buildpacks, pkg/python/python.go); its image starts
`functions-framework` with everything that it needs to know in the environment.
"""

import functools
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from infra.local.processes.bundle import Stage, write_bundle
from infra.local.serving.free_ports import LOOPBACK, free_port
from tests.support.terraform_module import local_values, unquoted

#: The version in the first release of the deployed Python; an update of the runtime may bring a
#: newer one.
OLDEST_PIP = "23.2.1"
#: The newest that the index has.
NEWEST_PIP = ""
INSTALL_SECONDS = 600
START_SECONDS = 120


class CannotInstall(Exception):
    """A command failed; the message is its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A bundle beside the packages that were installed for it."""

    python: Path
    bundle: Path
    layer: Path

    @property
    def environ(self) -> Mapping[str, str]:
        """What the image sets, so that Python finds the packages."""
        return {"PYTHONUSERBASE": str(self.layer), "PATH": f"{self.layer}/bin:/usr/bin:/bin"}


def deployed_version() -> str:
    """Such as 3.12, as Terraform says it."""
    (match,) = re.findall(r"^python(3)(\d+)$", unquoted(local_values()["runtime"]))
    return ".".join(match)


@functools.cache
def deployed_python() -> Path | None:
    """An interpreter of the version that is deployed, none where there is none."""
    version = deployed_version()
    candidates = [
        sys.executable,
        shutil.which(f"python{version}"),
        *sorted(map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python3"))),
    ]
    show = "import sys; print(sys._base_executable, '%d.%d' % sys.version_info[:2])"
    for candidate in filter(None, candidates):
        said = subprocess.run([candidate, "-c", show], check=False, capture_output=True)
        program, _, found = said.stdout.decode().strip().rpartition(" ")
        if found == version:
            return Path(program)
    return None


@functools.cache
def wheelhouse(folder: Path, stage: Stage) -> Path:
    """All that the stage requires, so that installing it needs no network.

    Raises:
        CannotInstall: the index does not have it.
    """
    place = folder / f"wheels-{stage}"
    requirements = Path(__file__).parents[2] / stage / "requirements.txt"
    _pip(
        folder,
        NEWEST_PIP,
        ("download", "--require-hashes", "--requirement", str(requirements)),
        ("--dest", str(place)),
    )
    return place


def install(folder: Path, stage: Stage, pip: str) -> Installed:
    """Write the bundle and install what it requires, from the wheelhouse alone.

    Raises:
        CannotInstall: pip refuses, or finds that packages do not fit together.
    """
    place = folder / f"{stage}-{pip or 'newest'}"
    bundle, layer = place / "bundle", place / "layer"
    offline = {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(wheelhouse(folder, stage)),
        "PYTHONUSERBASE": str(layer),
    }
    write_bundle(stage, bundle)
    _pip(
        folder,
        pip,
        ("install", "--requirement", str(bundle / "requirements.txt")),
        ("--upgrade", "--upgrade-strategy", "only-if-needed", "--no-warn-script-location"),
        ("--no-warn-conflicts", "--force-reinstall", "--no-compile", "--user"),
        environ=offline,
    )
    _run(
        _python(),
        "-m",
        "compileall",
        "--invalidation-mode",
        "unchecked-hash",
        "-qq",
        str(layer),
    )
    _pip(folder, pip, ("check",), environ=offline)
    return Installed(python=_python(), bundle=bundle, layer=layer)


@contextmanager
def running(
    target: str, installed: Installed, environ: Mapping[str, str], signature: str
) -> Iterator[str]:
    """The function's URL, while it runs."""
    port = free_port()
    with (installed.bundle.parent / f"{target}.log").open("w+") as log:
        process = subprocess.Popen(
            ["functions-framework"],  # noqa: S607 -- the image's PATH decides
            cwd=installed.bundle,
            env={
                **environ,
                **installed.environ,
                "FUNCTION_TARGET": target,
                "FUNCTION_SIGNATURE_TYPE": signature,
                "PORT": str(port),
            },
            executable=str(installed.layer / "bin/functions-framework"),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            url = f"http://{LOOPBACK}:{port}"
            _wait(url, process, Path(log.name))
            yield url
        finally:
            process.terminate()
            process.wait(START_SECONDS)


def _wait(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    ends_at = time.monotonic() + START_SECONDS
    while time.monotonic() < ends_at:
        assert process.poll() is None, log.read_text()
        try:
            httpx2.get(f"{url}/robots.txt", trust_env=False, timeout=10)
        except httpx2.TransportError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError(f"no answer: {log.read_text()}")


def _python() -> Path:
    python = deployed_python()
    if python is None:
        raise CannotInstall(f"there is no Python {deployed_version()}")
    return python


@functools.cache
def _pip_wheel(folder: Path, version: str) -> Path:
    place = folder / f"pip-{version or 'newest'}"
    wanted = f"pip=={version}" if version else "pip"
    _run(_python(), "-m", "pip", "download", "--no-deps", "--dest", str(place), wanted)
    (wheel,) = place.glob("pip-*.whl")
    return wheel


def _pip(
    folder: Path,
    version: str,
    *arguments: tuple[str, ...],
    environ: Mapping[str, str] | None = None,
) -> None:
    """Runs that pip from its wheel, as no Python of this machine has it."""
    pip = _pip_wheel(folder, version) / "pip"
    # The user's folder is one of the test: a system's own packages stay as they are.
    own = {"PIP_BREAK_SYSTEM_PACKAGES": "1", **(environ or {})}
    _run(_python(), str(pip), *(word for part in arguments for word in part), environ=own)


def _run(python: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        [python, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=INSTALL_SECONDS,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **(environ or {})},
    )
    if done.returncode:
        raise CannotInstall(f"{' '.join(arguments)}: {(done.stdout + done.stderr)[-2_000:]}")


def no_bundle(reason: CannotInstall) -> None:
    """Leave a test out, or fail it where CI is set."""
    if os.environ.get("CI"):
        pytest.fail(str(reason), pytrace=False)
    pytest.skip(str(reason))
