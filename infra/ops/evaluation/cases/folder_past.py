"""Past steps in a folder: flow runs as JSON files, their registry, and their objects.

The folder is read and never written: what an evaluation makes goes to a folder of its own.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor.contract.artifacts import BUCKET_NAME, GcsUri
from executor.ports import ObjectInfo, ObjectMissing, ObjectTooLarge, StoredObject
from executor.validation.strict_json import NotJson, parse_strict_json
from infra.local.storage.names import file_names, is_valid_name, name_digest
from infra.ops.environment.stored_documents import at, map_at
from infra.ops.evaluation.cases.pinning import CaseExcluded
from infra.ops.registry.files import Entry, FileInvalid, read_prompt, read_schema
from shared.domain.flow_run import LLM_REPORT
from shared.domain.identifiers import is_prompt_id, is_schema_id

_METADATA = ".metadata"
#: The generation of every file that was merely put there: the same bytes are the same input,
#: also where a file was written anew.
_PLAIN_FILE = 1


@dataclass(frozen=True, slots=True)
class FolderObjects:
    """Implements PastObjects by files: `<root>/<bucket>/<name>`."""

    root: Path

    async def stat(self, uri: GcsUri, *, timeout_seconds: float) -> ObjectInfo | None:
        """See the port; what no file can hold stands beside, as the local storage keeps it."""
        del timeout_seconds
        path = self._path(uri)
        if path is None:
            return None
        status = path.stat()
        return ObjectInfo(
            size_bytes=status.st_size,
            generation=self._kept(uri).get("generation", _PLAIN_FILE),
            metadata=self._kept(uri).get("metadata", {}),
        )

    async def read(
        self, uri: GcsUri, *, max_bytes: int, timeout_seconds: float
    ) -> StoredObject:
        """See the port."""
        info, path = await self.stat(uri, timeout_seconds=timeout_seconds), self._path(uri)
        if info is None or path is None:
            raise ObjectMissing(str(uri))
        if info.size_bytes > max_bytes:
            raise ObjectTooLarge(info.size_bytes)
        return StoredObject(data=path.read_bytes(), generation=info.generation)

    def buckets(self) -> Sequence[str]:
        """The folders that may be buckets."""
        found = self.root.iterdir() if self.root.is_dir() else ()
        return sorted(each.name for each in found if BUCKET_NAME.fullmatch(each.name))

    def _path(self, uri: GcsUri) -> Path | None:
        if not is_valid_name(uri.name):
            return None
        places = (self.root / uri.bucket / file for file in file_names(uri.name))
        return next((each for each in places if each.is_file() and not each.is_symlink()), None)

    def _kept(self, uri: GcsUri) -> Mapping[str, Any]:
        sidecar = f"{name_digest(uri.name)}.json"
        path = self.root / _METADATA / uri.bucket / "objects" / sidecar
        try:
            return map_at(json.loads(path.read_bytes()), "record")
        except (OSError, ValueError):
            return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderPast:
    """Implements the Past port."""

    objects: FolderObjects
    #: Holds llm_prompts/ID.json and llm_schemas/ID.json.
    registry: Path
    #: Holds llm_jobs/RUN~STEP.json where they were exported.
    jobs: Path

    async def prompt(self, prompt_id: str) -> Mapping[str, Any] | None:
        """See the port."""
        if not is_prompt_id(prompt_id):
            return None
        return _entry(self.registry / "llm_prompts" / f"{prompt_id}.json", read_prompt)

    async def schema(self, schema_id: str) -> Mapping[str, Any] | None:
        """See the port."""
        if not is_schema_id(schema_id):
            return None
        return _entry(self.registry / "llm_schemas" / f"{schema_id}.json", read_schema)

    async def job(self, run_id: str, step_id: str) -> Mapping[str, Any] | None:
        """See the port."""
        path = self.jobs / "llm_jobs" / f"{run_id}~{step_id}.json"
        return read_json_object(path) if path.is_file() else None


def folder_past(
    folder: Path, registry: Path | None = None, objects: Path | None = None
) -> FolderPast:
    """The past in a folder; registry and objects may lie elsewhere."""
    return FolderPast(
        objects=FolderObjects(objects or folder / "objects"),
        registry=registry or folder,
        jobs=folder,
    )


def runs_in(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The flow runs in a file, or in the JSON files of a folder, by id.

    Raises:
        FileInvalid: a file holds no JSON object with steps, or the folder no file.
        OSError: a file cannot be read.
    """
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    if not files:
        raise FileInvalid(f"{path}: no .json file in this folder")
    for file in files:
        run = read_json_object(file)
        if not isinstance(run.get("steps"), Mapping):
            raise FileInvalid(f"{file}: is no flow run: it has no steps")
        yield str(run.get("runId", file.stem)), run


def report_steps(run: Mapping[str, Any]) -> Sequence[str]:
    """The ids of the run's report steps."""
    steps = map_at(run, "steps")
    return sorted(name for name in steps if at(steps, name, "stepType") == LLM_REPORT)


def read_json_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        FileInvalid: it holds something else.
        OSError: it cannot be read.
    """
    try:
        document = parse_strict_json(path.read_bytes())
    except NotJson as problem:
        raise FileInvalid(f"{path}: {problem}") from None
    if not isinstance(document, dict):
        raise FileInvalid(f"{path}: must be a JSON object")
    return document


def _entry(path: Path, read: Any) -> Mapping[str, Any] | None:
    if not path.is_file():
        return None
    try:
        entry: Entry = read(path)
    except FileInvalid as problem:
        raise CaseExcluded(str(problem)) from None
    return entry.document
