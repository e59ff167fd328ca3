"""An evaluation of sample runs, for tests: the folder, the options, and a model that counts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from infra.ops.cli.options import Where
from infra.ops.evaluation.asking.variants import Variant, read_variant
from infra.ops.evaluation.cases.environment_past import CaseSelection
from infra.ops.evaluation.cases.gathering import FolderPlaces
from infra.ops.evaluation.evaluating import Ended, Evaluation, prepared
from infra.ops.evaluation.sample_files import write_samples

CANDIDATE = "candidate/llm_prompt_1d_report_v1_1.json"
CHECKS = "checks/llm_schema_1d_report_technical_v1_0.json"
#: What makes the stand-in play an effect for the sample's candidate.
PHRASE = "Name exactly two levels on each side."


def sample_folder(tmp_path: Path, count: int) -> Path:
    """A folder of so many sample runs."""
    folder = tmp_path / "samples"
    write_samples(folder, count, drawn=False)
    return folder


def variants_of(folder: Path) -> Sequence[Variant]:
    """The runs' own prompt, and the candidate."""
    return [read_variant("current"), read_variant(str(folder / CANDIDATE))]


def evaluation_of_samples(folder: Path, out: Path, **more: Any) -> Evaluation:
    """An evaluation of a folder's runs."""
    fields = {"variants": variants_of(folder), "selection": CaseSelection(), **more}
    return Evaluation(
        places=FolderPlaces(runs=folder), where=Where(), out=out, parallel=8, **fields
    )


async def evaluated(evaluation: Evaluation) -> Ended:
    """What comes of it."""
    async with prepared(evaluation) as ready:
        return await ready.ask()
