"""`worker-llm bundle`."""

from pathlib import Path

from infra.local.processes.bundle import Stage, write_bundle, zip_bundle
from infra.ops.cli.terminal import print_json, say


async def show_bundle(stage: Stage, target: Path, *, as_json: bool) -> int:
    """Write the bundle and say where, how large and with which digest.

    Raises:
        BundleError: the place is taken by something that is no bundle.
        OSError: it cannot be written there.
    """
    make = zip_bundle if target.suffix == ".zip" else write_bundle
    made = make(stage, target)
    if as_json:
        print_json({"path": str(target), "files": len(made.files), "sha256": made.sha256})
    else:
        say(f"{target}: {len(made.files)} files, sha256 {made.sha256}")
    return 0
