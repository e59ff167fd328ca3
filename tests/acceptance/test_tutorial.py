"""A newcomer's walk through the tutorial: its commands, as they are written there."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.local.bundle import REPOSITORY
from infra.local.emulators import Missing, find_emulators

TUTORIAL = REPOSITORY / "docs/tutorial/first-report.md"
_BLOCK = re.compile(
    r'^```console title="(?P<terminal>[^"]+)"\n(?P<lines>.*?)^```$', re.MULTILINE | re.DOTALL
)
#: What a checkout has, and a release has not.
_LEFT_OUT = shutil.ignore_patterns(
    *(".venv", ".git", ".worker-llm", "build", "__pycache__", ".*_cache", ".hypothesis")
)
BASH = "/bin/bash"
PATIENCE_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command, and the lines that the tutorial shows below it; … stands for anything."""

    terminal: str
    line: str
    shown: Sequence[str]


def commands() -> Iterator[Command]:
    """All commands of the tutorial in their order."""
    for block in _BLOCK.finditer(TUTORIAL.read_text()):
        _, *parts = re.split(r"^\$ ", block["lines"], flags=re.MULTILINE)
        for part in parts:
            line, *shown = part.strip().splitlines()
            yield Command(terminal=block["terminal"], line=line, shown=shown)


def script(terminal: str) -> str:
    """The commands of one terminal, ending at the first that fails."""
    lines = [command.line for command in commands() if command.terminal == terminal]
    return "\n".join(["set -eu", *lines])


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of the repository, whose environment is set up already."""
    copy = tmp_path / "worker_llm_client"
    shutil.copytree(REPOSITORY, copy, ignore=_LEFT_OUT, symlinks=True)
    (copy / ".venv").symlink_to(REPOSITORY / ".venv")
    return copy


@contextmanager
def first_terminal(checkout: Path, environ: dict[str, str]) -> Iterator[Path]:
    """Run the first terminal's commands, the last of which stays; yields what it printed."""
    printed = checkout.parent / "terminal-1.txt"
    with printed.open("w") as output:
        shell = subprocess.Popen(
            [BASH, "-c", script("Terminal 1")],
            cwd=checkout,
            env=environ,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_for(printed, "Ctrl-C ends everything", shell)
        yield printed
    finally:
        # As Ctrl-C does: to everything in the terminal.
        os.killpg(shell.pid, signal.SIGINT)
        shell.wait(PATIENCE_SECONDS)


def wait_for(printed: Path, text: str, shell: subprocess.Popen[bytes]) -> None:
    """Return once the text was printed."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while text not in printed.read_text():
        assert shell.poll() is None, printed.read_text()
        assert time.monotonic() < deadline, printed.read_text()
        time.sleep(0.2)


def test_the_tutorial_shows_commands_for_two_terminals() -> None:
    found = list(commands())

    assert {command.terminal for command in found} == {"Terminal 1", "Terminal 2"}
    assert found[-1].line.startswith("worker-llm steps rerun")


def test_every_fenced_block_of_the_tutorial_is_one_whose_commands_are_run() -> None:
    text = TUTORIAL.read_text()
    fences = re.findall(r"^[`~]{3}.*$", text, flags=re.MULTILINE)
    lines = re.findall(r"^\$ (.+)$", text, flags=re.MULTILINE)

    # Each block opens with its terminal, and closes.
    assert len(fences) == 2 * len(list(_BLOCK.finditer(text)))
    assert [command.line for command in commands()] == lines
    for terminal in ("Terminal 1", "Terminal 2"):
        assert script(terminal).splitlines()[1:] == [
            command.line for command in commands() if command.terminal == terminal
        ]


@pytest.mark.emulators
@pytest.mark.timeout(700)
def test_a_newcomer_who_follows_the_tutorial_sees_what_it_promises(checkout: Path) -> None:
    missing = find_emulators(os.environ, Path.home())
    if isinstance(missing, Missing) and not os.environ.get("CI"):
        pytest.skip("; ".join(missing.reasons))
    environ = {name: value for name, value in os.environ.items() if name != "GCP_PROJECT"}

    with first_terminal(checkout, environ) as printed:
        second = subprocess.run(
            [BASH, "-c", script("Terminal 2")],
            cwd=checkout,
            env=environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    assert second.returncode == 0, second.stdout + second.stderr
    outputs = {"Terminal 1": printed.read_text(), "Terminal 2": second.stdout}
    for command in commands():
        for shown in command.shown:
            pattern = ".*".join(re.escape(part) for part in shown.split("…"))
            assert re.search(pattern, outputs[command.terminal]), (command.line, shown)


def test_every_picture_of_the_tutorial_is_there() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", TUTORIAL.read_text())

    assert len(pictures) == 3
    for picture in pictures:
        assert (TUTORIAL.parent / picture).is_file()
