"""A newcomer follows the tutorials: their commands run as they are written there."""

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import unescape
from pathlib import Path

import httpx2
import pytest

from infra.local.emulators.finding import Missing, find_emulators
from infra.local.processes.bundle import REPOSITORY

FIRST = REPOSITORY / "docs/tutorial/first-report.md"
#: The other tutorial has a single terminal: test_evaluation_tutorial.py runs it.
TUTORIALS = sorted(
    path
    for path in (REPOSITORY / "docs/tutorial").glob("*.md")
    if path.name != "better-prompt.md"
)
EVERY = pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
_BLOCK = re.compile(
    r'^```console title="(?P<terminal>[^"]+)"\n(?P<lines>.*?)^```$', re.MULTILINE | re.DOTALL
)
#: What a checkout has, and a release does not.
_LEFT_OUT = shutil.ignore_patterns(
    *(".venv", ".git", ".worker-llm", "build", "__pycache__", ".*_cache", ".hypothesis")
)
#: The terminal for those who have no emulators.
ALONE = "Alone"
BASH = "/bin/bash"
PATIENCE_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command, and the lines that the tutorial shows below it; … stands for any text."""

    terminal: str
    line: str
    shown: Sequence[str]


def commands(tutorial: Path) -> Iterator[Command]:
    """All commands of the tutorial in their order."""
    for block in _BLOCK.finditer(tutorial.read_text()):
        _, *parts = re.split(r"^\$ ", block["lines"], flags=re.MULTILINE)
        for part in parts:
            line, *shown = part.strip().splitlines()
            yield Command(terminal=block["terminal"], line=line, shown=shown)


def script(tutorial: Path, terminal: str) -> str:
    """The commands of one terminal; the script stops at the first that fails."""
    lines = [command.line for command in commands(tutorial) if command.terminal == terminal]
    return "\n".join(["set -eu", *lines])


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a copy of the repository whose environment is already set up."""
    copy = tmp_path / "worker_llm_client"
    shutil.copytree(REPOSITORY, copy, ignore=_LEFT_OUT, symlinks=True)
    (copy / ".venv").symlink_to(REPOSITORY / ".venv")
    return copy


@contextmanager
def staying(
    tutorial: Path, checkout: Path, environ: dict[str, str], *, terminal: str = "Terminal 1"
) -> Iterator[Path]:
    """Run a terminal's commands, of which the last keeps running; yield what it printed."""
    printed = checkout.parent / "terminal-1.txt"
    with printed.open("w") as output:
        shell = subprocess.Popen(
            [BASH, "-c", script(tutorial, terminal)],
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
        # The signal goes to everything in the terminal, as Ctrl-C does.
        os.killpg(shell.pid, signal.SIGINT)
        shell.wait(PATIENCE_SECONDS)


def wait_for(printed: Path, text: str, shell: subprocess.Popen[bytes]) -> None:
    """Return once the text was printed."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while text not in printed.read_text():
        assert shell.poll() is None, printed.read_text()
        assert time.monotonic() < deadline, printed.read_text()
        time.sleep(0.2)


@EVERY
def test_a_tutorial_shows_commands_for_two_terminals_and_for_one_alone(tutorial: Path) -> None:
    found = list(commands(tutorial))

    assert {command.terminal for command in found} == {"Terminal 1", "Terminal 2", ALONE}


@EVERY
def test_every_fenced_block_of_a_tutorial_is_one_whose_commands_are_run(tutorial: Path) -> None:
    text = tutorial.read_text()
    fences = re.findall(r"^[`~]{3}.*$", text, flags=re.MULTILINE)
    lines = re.findall(r"^\$ (.+)$", text, flags=re.MULTILINE)

    # Each block names its terminal where it opens, and is closed.
    assert len(fences) == 2 * len(list(_BLOCK.finditer(text)))
    assert [command.line for command in commands(tutorial)] == lines
    for terminal in ("Terminal 1", "Terminal 2", ALONE):
        assert script(tutorial, terminal).splitlines()[1:] == [
            command.line for command in commands(tutorial) if command.terminal == terminal
        ]


@EVERY
@pytest.mark.emulators
@pytest.mark.timeout(700)
def test_a_newcomer_who_follows_a_tutorial_sees_what_it_promises(
    tutorial: Path, checkout: Path
) -> None:
    missing = find_emulators(os.environ, Path.home())
    if isinstance(missing, Missing) and not os.environ.get("CI"):
        pytest.skip("; ".join(missing.reasons))
    environ = {name: value for name, value in os.environ.items() if name != "GCP_PROJECT"}

    with staying(tutorial, checkout, environ) as printed:
        second = subprocess.run(
            [BASH, "-c", script(tutorial, "Terminal 2")],
            cwd=checkout,
            env=environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

    assert second.returncode == 0, second.stdout + second.stderr
    promised_is_shown(tutorial, "Terminal 1", printed.read_text())
    promised_is_shown(tutorial, "Terminal 2", second.stdout)


def promised_is_shown(tutorial: Path, terminal: str, output: str) -> None:
    for command in commands(tutorial):
        for shown in command.shown if command.terminal == terminal else ():
            pattern = ".*".join(re.escape(part) for part in shown.split("…"))
            assert re.search(pattern, output), (command.line, shown)


@EVERY
@pytest.mark.timeout(700)
def test_a_newcomer_without_emulators_sees_what_a_tutorial_promises(
    tutorial: Path, checkout: Path
) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "GCP_PROJECT"}
    pages = list(addresses(tutorial))

    if not pages:
        ended = subprocess.run(
            [BASH, "-c", script(tutorial, ALONE)],
            cwd=checkout,
            env=environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        promised_is_shown(tutorial, ALONE, ended.stdout)
        return
    with staying(tutorial, checkout, environ, terminal=ALONE) as printed:
        promised_is_shown(tutorial, ALONE, printed.read_text())
        [link] = re.findall(r"console: (\S+)", printed.read_text())
        with httpx2.Client(base_url=link.partition("/?")[0], trust_env=False) as browser:
            browser.get(link)
            for address, promised in pages:
                sees(browser, address, promised)


def addresses(tutorial: Path) -> Iterator[tuple[str, str]]:
    """The addresses that a tutorial opens in the console, and what is seen there."""
    yield from re.findall(r"^\| `(/[^`]*)` \| (.+) \|$", tutorial.read_text(), re.MULTILINE)


def sees(browser: httpx2.Client, address: str, promised: str) -> None:
    """Reload the page until it shows the promised text: the demo takes a while."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while promised not in unescape(browser.get(address).text):
        assert time.monotonic() < deadline, (address, promised)
        time.sleep(0.5)


def test_every_picture_of_the_tutorial_is_there() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", FIRST.read_text())

    assert len(pictures) == 3
    for picture in pictures:
        assert (FIRST.parent / picture).is_file()
