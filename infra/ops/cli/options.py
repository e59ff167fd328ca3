"""The options that every command of an environment has, in one place.

Nothing heavy is imported here: `--help` answers at once.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec, get_args

import typer

P = ParamSpec("P")

#: Where the local environment keeps its files unless told otherwise.
DATA_DIR = Path(".worker-llm")
#: Where evaluations are put, and looked for, unless told otherwise.
EVALUATIONS = Path("evaluation")
DEFAULT_DATABASE = "(default)"

_WHERE = "Environment"
Project = Annotated[
    str | None,
    typer.Option(
        help="A Google Cloud project, reached with your own credentials. "
        "Default: GCP_PROJECT, else the local environment.",
        rich_help_panel=_WHERE,
    ),
]
Database = Annotated[
    str, typer.Option(help="The project's Firestore database.", rich_help_panel=_WHERE)
]
Local = Annotated[
    bool,
    typer.Option(
        "--local", help="The environment that `worker-llm up` runs.", rich_help_panel=_WHERE
    ),
]
DataDir = Annotated[
    Path, typer.Option(help="The folder of the local environment.", rich_help_panel=_WHERE)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Which environment is meant, as the options say."""

    project: str | None = None
    database: str = DEFAULT_DATABASE
    local: bool = False
    data_dir: Path = DATA_DIR


def for_environment(
    command: Callable[Concatenate[Where, P], None],
) -> Callable[..., None]:
    """Give a command the options that say which environment, as its first argument."""
    own = list(inspect.signature(command).parameters.values())[1:]
    parameters = [*own, *_PARAMETERS]
    names = {item.name: _shown_name(item) for item in parameters}
    defaults = {item.name: item.default for item in parameters}

    @functools.wraps(command)
    def with_options(
        *args: Any,
        project: str | None,
        database: str,
        local: bool,
        data_dir: Path,
        **kwargs: Any,
    ) -> None:
        given = {**kwargs, "project": project, "database": database}
        for name, value in given.items():
            # Such as from a shell variable that is not set: an empty value must not mean "all".
            if isinstance(value, str) and not value.strip() and value != defaults[name]:
                raise typer.BadParameter(f"{names[name]} is empty: give one, or leave it out")
        where = Where(project=project, database=database, local=local, data_dir=data_dir)
        command(where, *args, **kwargs)

    # From these two typer reads the arguments and options of a command.
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {item.name: item.annotation for item in parameters}
    return with_options


def _shown_name(parameter: inspect.Parameter) -> str:
    """How the command line calls it."""
    for told in get_args(parameter.annotation)[1:]:
        if isinstance(told, typer.models.ArgumentInfo):
            return parameter.name.upper()
        if isinstance(told, typer.models.OptionInfo):
            # typer keeps the first declaration where a default would stand.
            for name in (told.default, *(told.param_decls or ())):
                if isinstance(name, str) and name.startswith("--"):
                    return name
    return "--" + parameter.name.replace("_", "-")


def _option(name: str, annotation: object, default: object) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, annotation=annotation, default=default)


_PARAMETERS = (
    _option("project", Project, None),
    _option("database", Database, DEFAULT_DATABASE),
    _option("local", Local, default=False),
    _option("data_dir", DataDir, DATA_DIR),
)
