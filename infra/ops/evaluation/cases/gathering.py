"""Gathering cases: from a folder or file of runs, or as a sample of an environment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.ops.environment.connection import Connection
from infra.ops.evaluation.cases.case import Case, case_text, file_name_of, parse_case
from infra.ops.evaluation.cases.environment_past import (
    CaseSelection,
    EnvironmentPast,
    past_runs,
    selected_steps,
)
from infra.ops.evaluation.cases.folder_past import folder_past, report_steps, runs_in
from infra.ops.evaluation.cases.pinning import CaseExcluded, Pinning


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """The cases, and by step why it is none."""

    cases: Sequence[Case]
    excluded: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderPlaces:
    """Where an author's files lie; None for beside the runs."""

    runs: Path
    registry: Path | None = None
    objects: Path | None = None


async def cases_in_folder(
    places: FolderPlaces, selection: CaseSelection, folder: Path, pinned: Path
) -> Gathered:
    """The report steps of the runs in a folder or file, READY ones and past ones.

    Raises:
        FileInvalid: a file is no flow run.
        OSError: a file cannot be read or written.
    """
    base = places.runs if places.runs.is_dir() else places.runs.parent
    past = folder_past(base, places.registry, places.objects)
    runs = dict(runs_in(places.runs))
    steps = [(run_id, step_id) for run_id, run in runs.items() for step_id in report_steps(run)]
    pinning = Pinning(past=past, pinned=pinned)
    cases: list[Case] = []
    excluded: dict[str, str] = {}
    for run_id, step_id in selection.drawn(steps):
        try:
            case = await pinning.pin(run_id, step_id, runs[run_id])
            _write(folder, case)
        except CaseExcluded as problem:
            excluded[f"{run_id}~{step_id}"] = str(problem)
        else:
            cases.append(case)
    return Gathered(cases=cases, excluded=excluded)


async def cases_of_environment(
    connection: Connection, selection: CaseSelection, folder: Path, pinned: Path
) -> Gathered:
    """A sample of the environment's past steps; one that is pinned already is not read again.

    Raises:
        ObjectsUnavailable: Cloud Storage did not answer.
        StoreUnavailable: Firestore did not answer.
        OSError: a file cannot be read or written.
    """
    runs = await past_runs(connection, selection)
    past = EnvironmentPast(connection=connection, objects=connection.objects())
    pinning = Pinning(past=past, pinned=pinned)
    cases: list[Case] = []
    excluded: dict[str, str] = {}
    for run_id, step_id in selected_steps(runs, selection):
        case_id = f"{run_id}~{step_id}"
        try:
            case = _pinned_before(folder, case_id) or await pinning.pin(
                run_id, step_id, runs[run_id]
            )
            _write(folder, case)
        except CaseExcluded as problem:
            excluded[case_id] = str(problem)
        else:
            cases.append(case)
    return Gathered(cases=cases, excluded=excluded)


def _pinned_before(folder: Path, case_id: str) -> Case | None:
    path = folder / file_name_of(case_id)
    if not path.is_file():
        return None
    try:
        return parse_case(path.read_bytes())
    except ValueError:
        raise CaseExcluded(f"{path}: was changed, and is no case any more") from None


def _write(folder: Path, case: Case) -> None:
    try:
        text = case_text(case)
    except ValueError as problem:
        raise CaseExcluded(f"its run cannot be kept: {problem}") from None
    place = folder / file_name_of(case.case_id)
    if not place.exists() or place.read_text(encoding="utf-8") != text:
        staged = place.with_suffix(".part")
        staged.write_text(text, encoding="utf-8")
        staged.replace(place)
