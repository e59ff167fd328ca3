"""The page of the command line, from the commands themselves."""

import re
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from infra.docs.markdown import one_line, page, table
from infra.ops.main import app
from infra.ops.mcp.tools import commands_of

_PROGRAM = "worker-llm"
_INTRODUCTION = (
    "The command `worker-llm` drives the local environment, and shows and mends what runs in "
    "any. With `--json` a command prints one JSON object and nothing else; `runs watch` and "
    "`steps logs` print one a line. [The shape](cli-json.schema.json) of each command's output "
    "is stated as JSON Schema, and tested. On a terminal it prints tables, in a pipe one line "
    "a thing with its fields separated by tabs. `worker-llm --install-completion` completes "
    "commands and options in your shell."
)
_EXIT_CODES = {
    "0": "Done.",
    "1": "It could not be done; the reason is on standard error.",
    "2": "Wrong usage.",
    "3": "There is no such run, step, report or letter.",
    "4": "`runs watch`: a step failed.",
    "5": "`runs watch`: the time was up.",
    "6": "`eval watch`: no decision yet.",
    "130": "Interrupted.",
}
#: The same for every command of an environment, so said once.
_COMMON = ("project", "database", "local", "data_dir")
_HELP = "help"
_EXAMPLES = re.compile(r"`[^`]+`")


def cli_page() -> str:
    """`docs/reference/cli.md`."""
    root = get_command(app)
    commands = [(f"{_PROGRAM} {name}", command) for name, command in commands_of(root)]
    common = next(command for name, command in commands if name == f"{_PROGRAM} runs list")
    return page(
        "Command line",
        "infra/ops/main.py and the modules that it names",
        _INTRODUCTION,
        table(("exit code", "meaning"), _EXIT_CODES.items()),
        "## Which environment",
        "Commands that reach an environment have these options, named below as *environment*.",
        table(("option", "meaning"), _options(common, _COMMON)),
        *(part for name, command in commands for part in _section(name, command)),
    )


def _section(name: str, command: Any) -> Iterator[str]:
    names = {option.name for option in command.params}
    common = set(_COMMON) if names.issuperset(_COMMON) else set()
    arguments = [_spelled(one) for one in command.params if not one.opts[0].startswith("-")]
    usage = " ".join([name, *arguments, "[OPTIONS]"])
    yield f"## {name}"
    yield one_line(command.help)
    yield f"`{usage}`" + (" and the options of the *environment*." if common else "")
    own = [name for name in names if name not in {*common, _HELP}]
    rows = list(_options(command, own))
    if rows:
        yield table(("argument or option", "meaning"), rows)
    if command.epilog:
        yield f"Examples: {', '.join(_EXAMPLES.findall(command.epilog))}"


def _options(command: Any, names: Any) -> Iterator[tuple[str, str]]:
    for one in command.params:
        if one.name not in names or one.hidden:
            continue
        yield f"`{_spelled(one)}`", _meaning(one)


def _spelled(one: Any) -> str:
    """As it is written on the command line: an argument in capitals, an option with dashes."""
    if not one.opts[0].startswith("-"):
        return str(one.name.upper())
    return "`, `".join([*one.opts, *one.secondary_opts])


def _meaning(one: Any) -> str:
    said = [one_line(one.help)]
    if one.envvar:
        said.append(f"Also read from `{one.envvar}`.")
    if one.default not in {None, False, True, ""} and not callable(one.default):
        said.append(f"Default: `{one.default}`.")
    return " ".join(part for part in said if part)
