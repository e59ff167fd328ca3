"""`worker-llm bootstrap`, with its options."""

# What a command needs is imported when it runs.
# ruff: noqa: PLC0415

from typing import Annotated

import typer


def bootstrap(
    *,
    project: Annotated[str, typer.Option(help="The Google Cloud project to prepare.")],
    region: Annotated[str, typer.Option(help="The region of everything in it.")],
    github: Annotated[
        str | None,
        typer.Option(help="OWNER/REPOSITORY on GitHub whose workflows plan and deploy."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the commands, and run none of them.")
    ] = False,
) -> None:
    """Prepare a project for its first `terraform apply`, by gcloud and as yourself.

    Makes the state's bucket, the service agents, and an identity that deploys, with the roles
    that the Terraform module needs and without a key. Looks before it makes anything: it may
    be stopped at any point, and run again as often as you like.
    """
    from infra.ops.bootstrap.commands import prepare
    from infra.ops.cli.running import finish

    finish(prepare(project, region, github, dry_run=dry_run))
