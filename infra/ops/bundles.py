"""`worker-llm bundle`."""

from pathlib import Path

import typer

from infra.local.bundle import BundleError, Stage, write_bundle, zip_bundle
from infra.ops.terminal import print_json


def write(stage: Stage, target: Path, *, as_json: bool) -> None:
    """Write the bundle and say where, how large and with which digest."""
    make = zip_bundle if target.suffix == ".zip" else write_bundle
    try:
        made = make(stage, target)
    except BundleError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    if as_json:
        print_json({"path": str(target), "files": len(made.files), "sha256": made.sha256})
    else:
        typer.echo(f"{target}: {len(made.files)} files, sha256 {made.sha256}")
