"""`worker-llm bundle`."""

from pathlib import Path

import typer

from infra.local.bundle import BundleError, Stage, write_bundle, zip_bundle


def write(stage: Stage, target: Path) -> None:
    """Write the bundle and say where, how large and with which digest."""
    make = zip_bundle if target.suffix == ".zip" else write_bundle
    try:
        made = make(stage, target)
    except BundleError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{target}: {len(made.files)} files, sha256 {made.sha256}")
