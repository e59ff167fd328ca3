"""The command line as it is installed elsewhere: a built wheel in an empty environment."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters

ROOT = Path(__file__).parents[2]
_INSTALL_SECONDS, _RUN_SECONDS = 600, 300
pytestmark = [pytest.mark.bundles, pytest.mark.timeout(_INSTALL_SECONDS + 3 * _RUN_SECONDS)]


def run(*command: str | Path, cwd: Path, seconds: int = _RUN_SECONDS) -> str:
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=seconds, cwd=cwd, env=own
    )
    assert ended.returncode == 0, ended.stderr[-2_000:]
    return ended.stdout


def built(folder: Path) -> Path:
    """The wheel; its tools are those of the development environment."""
    target = folder / "wheel"
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", target, cwd=ROOT)
    [wheel] = target.glob("*.whl")
    return wheel


@asynccontextmanager
async def tools_of(program: Path, data_dir: Path) -> AsyncIterator[Client]:
    arguments = ["mcp", "--local", "--data-dir", str(data_dir)]
    server = StdioServerParameters(command=str(program), args=arguments, cwd=str(data_dir))
    async with Client(server, read_timeout_seconds=_RUN_SECONDS) as client:
        yield client


def test_the_wheel_puts_one_name_on_the_import_path(tmp_path: Path) -> None:
    with zipfile.ZipFile(built(tmp_path)) as wheel:
        names = wheel.namelist()

    top = {name.partition("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"worker_llm"}
    assert not any("/tests/" in name or "__pycache__" in name for name in names)


async def test_an_installed_command_line_works_without_the_repository(tmp_path: Path) -> None:
    venv, wheel = tmp_path / "venv", built(tmp_path)
    uv, program = Path(sys.prefix) / "bin/uv", venv / "bin/worker-llm"
    run(uv, "venv", "--quiet", "--python", sys.executable, venv, cwd=tmp_path)
    install = (uv, "pip", "install", "--quiet", "--python", venv / "bin/python", wheel)
    run(*install, cwd=tmp_path, seconds=_INSTALL_SECONDS)

    assert run(program, "--version", cwd=tmp_path) == "worker-llm 0.1.0\n"
    assert "Usage: worker-llm" in run(program, "runs", "list", "-h", cwd=tmp_path)
    demo = json.loads(run(program, "demo", "--embedded", "--json", cwd=tmp_path))
    assert demo["unexpected"] == []
    found = "import importlib.util as u; print([n for n in NAMES if u.find_spec(n)])"
    names = ("infra", "shared", "tests", "executor", "dispatcher", "worker_llm")
    script = found.replace("NAMES", repr(names))
    assert run(venv / "bin/python", "-c", script, cwd=tmp_path) == "['worker_llm']\n"
    async with tools_of(program, tmp_path) as client:
        assert "runs_list" in {tool.name for tool in (await client.list_tools()).tools}
        answer = await client.call_tool("runs_list", {})
    assert "start one with `worker-llm up`" in str(answer.content)
