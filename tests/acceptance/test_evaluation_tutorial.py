"""A prompt author follows the tutorial: its commands run as they are written there."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.local.processes.bundle import REPOSITORY

TUTORIAL = REPOSITORY / "docs/tutorial/better-prompt.md"
_BLOCK = re.compile(
    r'^```console title="Terminal 1"\n(?P<lines>.*?)^```$', re.MULTILINE | re.DOTALL
)
PATIENCE_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A command, and the lines that the tutorial shows below it; … stands for any text."""

    line: str
    output: tuple[str, ...]


def commands() -> Iterator[Shown]:
    """The commands in their order."""
    for block in _BLOCK.finditer(TUTORIAL.read_text()):
        _, *parts = re.split(r"^\$ ", block["lines"], flags=re.MULTILINE)
        for part in parts:
            line, *output = part.strip().splitlines()
            yield Shown(line=line, output=tuple(output))


def environ() -> dict[str, str]:
    """The author's environment: the command on the path, no key, no project, no network."""
    kept = {
        name: text
        for name, text in os.environ.items()
        if not name.startswith(("GEMINI_", "GCP_", "GOOGLE_", "MODEL_PRICES"))
    }
    programs = Path(sys.executable).parent
    # The proxy is a closed port: whatever tried to leave the machine would fail.
    offline = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    return {**kept, **offline, "PATH": f"{programs}:{kept['PATH']}"}


def test_every_command_of_the_tutorial_stands_in_a_block_that_is_run() -> None:
    lines = re.findall(r"^\$ (.+)$", TUTORIAL.read_text(), flags=re.MULTILINE)

    assert [command.line for command in commands()] == lines
    assert len(lines) == 6


@pytest.mark.timeout(900)
def test_an_author_who_follows_the_tutorial_sees_what_it_promises(tmp_path: Path) -> None:
    for command in commands():
        ended = subprocess.run(
            ["/bin/bash", "-c", command.line],
            cwd=tmp_path,
            env=environ(),
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )

        assert ended.returncode == 0, (command.line, ended.stdout, ended.stderr)
        for shown in command.output:
            pattern = ".*".join(re.escape(part) for part in shown.split("…"))
            assert re.search(pattern, ended.stdout), (shown, ended.stdout, ended.stderr)
    assert len(list((tmp_path / "evaluation").glob("evaluation-*.html"))) == 2


def test_every_picture_of_the_tutorial_is_there() -> None:
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", TUTORIAL.read_text())

    assert pictures
    assert all((TUTORIAL.parent / picture).is_file() for picture in pictures)
