"""`worker-llm samples`: real market data to try prompts on, in a folder."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from infra.failures import CannotBeDone
from infra.ops.cli.terminal import print_json


class FolderTaken(CannotBeDone):
    """The folder holds something already: nothing is written over it."""


async def samples(folder: Path, count: int, *, drawn: bool, as_json: bool) -> int:
    """Write the samples and say what they are.

    Raises:
        FolderTaken: the folder is not empty.
        OSError: it cannot be written.
    """
    runs = write_samples(folder, count, drawn=drawn)
    if as_json:
        print_json({"folder": str(folder), "runs": runs})
    else:
        typer.echo(_how_to_use(folder, runs))
    return 0


def _how_to_use(folder: Path, runs: int) -> str:
    run = min(folder.glob("*.json"))
    candidate = next((folder / "candidate").glob("llm_prompt_*.json"))
    return (
        f"{runs} runs of one daily report each, ready to be executed, in {folder}\n"
        f"one of them: worker-llm run {run}\n"
        f"all of them: worker-llm eval {folder} --variant current --variant {candidate}"
    )


def write_samples(folder: Path, count: int, *, drawn: bool) -> int:
    """Write so many runs with their registry, objects, a candidate, and checks; their number.

    Raises:
        FolderTaken: the folder is not empty.
        OSError: it cannot be written.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FolderTaken(f"{folder}: is not empty")
    for path, data in _files(count, drawn=drawn):
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return count


def _files(count: int, *, drawn: bool) -> Iterator[tuple[str, bytes]]:
    # Late: it has nothing to do with any other command.
    from infra.local.scenario.samples import (  # noqa: PLC0415
        sample_candidate,
        sample_effects,
        sample_registry,
        sample_runs,
    )

    for run in sample_runs(count, drawn=drawn):
        yield f"{run.document['runId']}.json", _indented(run.document)
        for written in run.objects:
            yield f"objects/{written.bucket}/{written.name}", written.data
    for path, document in {**sample_registry(), **sample_candidate()}.items():
        yield path, _indented(document)
    yield "candidate/effects.json", _indented(sample_effects())


def _indented(document: Any) -> bytes:
    return f"{json.dumps(document, ensure_ascii=False, indent=2)}\n".encode()
