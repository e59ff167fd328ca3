"""The commands as tools, as a client from the protocol's own package gets them."""

import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp.types import TextContent
from typer.main import get_command

from infra.docs.json_shapes import SHAPES
from infra.ops.main import app
from infra.ops.mcp.tools import (
    ACTING,
    READING,
    BadArgument,
    CommandTool,
    command_tools,
    commands_of,
)


def tools(*, allow_acts: bool = True) -> dict[str, CommandTool]:
    commands = dict(commands_of(get_command(app)))
    return {tool.name: tool for tool in command_tools(commands, allow_acts=allow_acts)}


def test_acts_are_tools_only_where_they_are_allowed() -> None:
    reading, every = tools(allow_acts=False), tools()

    assert {tool.command for tool in reading.values()} == set(READING)
    assert {tool.command for tool in every.values()} == {*READING, *ACTING}
    assert not any(tool.acts for tool in reading.values())


def test_an_act_is_only_foretold_until_it_is_confirmed() -> None:
    given = {"run_id": "R", "step_id": "S", "reason": "why"}
    rerun = tools()["steps_rerun"]

    assert "--dry-run" in rerun.argv(given)
    assert "--yes" not in rerun.argv({**given, "confirm": False})
    assert "--yes" in rerun.argv({**given, "confirm": True})


@pytest.mark.parametrize("value", ["--project=other", "-h", "--yes", "a b", "$(x)"])
def test_no_value_is_ever_an_option(value: str) -> None:
    line = tools()["steps_rerun"].argv({"run_id": value, "step_id": value, "reason": value})

    split = line.index("--")
    assert line[split + 1 :] == [value, value]
    assert value not in line[:split]
    assert f"--reason={value}" in line


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "run_id is needed"),
        ({"run_id": 7, "step_id": "S"}, "run_id must be a string"),
        ({"run_id": "x" * 9_999, "step_id": "S"}, "run_id must be a string"),
        ({"run_id": "R", "step_id": "S", "project": "other"}, "no argument 'project'"),
        ({"run_id": "R", "step_id": "S", "yes": True}, "no argument 'yes'"),
    ],
)
def test_an_argument_that_does_not_fit_is_refused(given: Mapping[str, Any], said: str) -> None:
    with pytest.raises(BadArgument, match=said):
        tools()["steps_show"].argv(given)


@asynccontextmanager
async def served(*options: str) -> AsyncIterator[Client]:
    arguments = ["-m", "worker_llm", "mcp", *options]
    server = StdioServerParameters(command=sys.executable, args=arguments)
    async with Client(server, read_timeout_seconds=120) as client:
        yield client


async def test_a_client_is_served_the_stated_shapes_and_told_what_cannot_be_done(
    tmp_path: Path,
) -> None:
    async with served("--local", "--data-dir", str(tmp_path)) as client:
        listed: Sequence[Any] = (await client.list_tools()).tools
        answer = await client.call_tool("runs_list", {"limit": 3})
        unknown = await client.call_tool("steps_rerun", {})

    assert {tool.name for tool in listed} == set(tools(allow_acts=False))
    shapes = {tool.name: tool.output_schema for tool in listed}
    assert shapes["runs_show"] == SHAPES["runs show"]
    assert answer.is_error
    [said] = answer.content
    assert isinstance(said, TextContent)
    assert "start one with `worker-llm up`" in said.text
    assert unknown.is_error
