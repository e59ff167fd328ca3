"""`worker-llm prompts` and `worker-llm schemas`: the same acts on either registry."""

# What a command needs is imported when it runs.
# ruff: noqa: PLC0415

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from infra.ops.cli.options import AsJson, Where, for_environment

if TYPE_CHECKING:
    from infra.ops.registry.documents import RegistryKind

Files = Annotated[
    list[Path],
    typer.Argument(help="Files named by the id, ID.json, or folders of them.", exists=True),
]


def registry_app(plural: str) -> typer.Typer:
    """The commands of one registry, `prompts` or `schemas`."""
    app = typer.Typer(
        help=f"Publish {plural} from files: created once, never changed.", no_args_is_help=True
    )

    @app.command(
        epilog=f"Examples: `worker-llm {plural} publish {plural}/ --local` · "
        f"`worker-llm {plural} publish {plural}/ --project my-project`",
    )
    @for_environment
    def publish(
        where: Where,
        files: Files,
        *,
        evaluation: Annotated[
            Path | None,
            typer.Option(help="Results of `worker-llm eval` that speak for these files."),
        ] = None,
        as_json: AsJson = False,
    ) -> None:
        """Publish files, all or none; what is published already with this content is left.

        Ends with 1 if one is published with other content: it says which id is free.
        """
        from infra.ops.cli.running import finish
        from infra.ops.registry.commands import publish as work

        finish(work(where, _kind(plural), files, evaluation=evaluation, as_json=as_json))

    @app.command(epilog=f"Example: `worker-llm {plural} diff {plural}/ --project my-project`")
    @for_environment
    def diff(where: Where, files: Files, *, as_json: AsJson = False) -> None:
        """Compare files with what is published, a new version with the one before it.

        Ends with 1 if anything differs or is new.
        """
        from infra.ops.cli.running import finish
        from infra.ops.registry.commands import diff as work

        finish(work(where, _kind(plural), files, as_json=as_json))

    @app.command(epilog=f"Example: `worker-llm {plural} show ID --project my-project`")
    @for_environment
    def show(
        where: Where,
        entry_id: Annotated[str, typer.Argument(help="The id, as `list` prints it.")],
        *,
        as_json: AsJson = False,
    ) -> None:
        """Show one published entry: its text, its versions, and which runs use it.

        Uses are looked for in the newest 100 runs. Ends with 3 if there is no such entry.
        """
        from infra.ops.cli.running import finish
        from infra.ops.registry.showing import show as work

        finish(work(where, _kind(plural), entry_id, as_json=as_json))

    @app.command("list", epilog=f"Example: `worker-llm {plural} list --local --json`")
    @for_environment
    def list_published(where: Where, *, as_json: AsJson = False) -> None:
        """List what is published: id, hash of the content, size in bytes, its evaluation."""
        from infra.ops.cli.running import finish
        from infra.ops.registry.commands import list_published as work

        finish(work(where, _kind(plural), as_json=as_json))

    return app


prompts_app = registry_app("prompts")
schemas_app = registry_app("schemas")


@schemas_app.command("hash", epilog="Example: `worker-llm schemas hash schemas/`")
def hash_files(files: Files, *, as_json: AsJson = False) -> None:
    """Check schema files and print their canonical hashes (RFC 8785, SHA-256).

    The value is what `sha256` and `structuredOutput.schemaSha256` must be. A file may have any
    name: only what is published needs an id.
    """
    from infra.ops.cli.running import finish
    from infra.ops.registry.commands import hash_files as work

    finish(work(files, as_json=as_json))


def _kind(plural: str) -> "RegistryKind":
    from infra.ops.registry.documents import PROMPTS, SCHEMAS

    return PROMPTS if plural == "prompts" else SCHEMAS
