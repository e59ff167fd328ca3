"""Prompts and schemas as their authors keep them: one JSON file each, named by its id."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor.output_schema import SchemaInvalid, check_schema
from executor.strict_json import NotJson, parse_strict_json
from shared.domain.errors import WorkerError
from shared.domain.identifiers import PromptId, SchemaId, is_prompt_id, is_schema_id
from shared.domain.profile import KIND
from shared.domain.registry import parse_prompt

#: A Firestore document may have 1 MiB (https://firebase.google.com/docs/firestore/quotas).
MAX_FILE_BYTES = 900_000
MAX_FILES = 200
_PROMPT_FIELDS = frozenset({"schemaVersion", "systemInstruction", "userPrompt"})
_SCHEMA_FIELDS = frozenset(
    {"schemaId", "kind", "jsonSchema", "sha256", "createdAt", "description", "isActive"}
)
_VERSION = re.compile(r"(?P<name>.*_v[0-9]+_)(?P<minor>[0-9]+)")


class FileInvalid(Exception):
    """A file that cannot be published; the message names it and says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A document of the registry, as a file states it, checked."""

    entry_id: str
    document: Mapping[str, Any]
    sha256: str
    #: What the author should know and may accept.
    warnings: Sequence[str] = ()


ReadEntry = Callable[[Path], Entry]


def read_prompt(path: Path) -> Entry:
    """The prompt in a file named `<promptId>.json`.

    Raises:
        FileInvalid: the name is no prompt id, or the content no prompt.
    """
    if not is_prompt_id(path.stem):
        raise FileInvalid(f"{path}: the name must be a prompt id, such as {_PROMPT_EXAMPLE}")
    data = _object(path)
    _only(path, data, _PROMPT_FIELDS)
    try:
        prompt = parse_prompt(PromptId(path.stem), data)
    except WorkerError as problem:
        raise FileInvalid(f"{path}: {problem.message}") from None
    return Entry(entry_id=path.stem, document=data, sha256=prompt.sha256)


def read_schema(path: Path) -> Entry:
    """The schema in a file named `<schemaId>.json`: the whole document, or its `jsonSchema`.

    Raises:
        FileInvalid: the name is no schema id, the schema is not fit for reports, or the
            document's own id or hash is another one.
    """
    if not is_schema_id(path.stem):
        raise FileInvalid(f"{path}: the name must be a schema id, such as {_SCHEMA_EXAMPLE}")
    schema_id, data = SchemaId(path.stem), _object(path)
    stated = data if "jsonSchema" in data else {"jsonSchema": data}
    _only(path, stated, _SCHEMA_FIELDS)
    json_schema = stated["jsonSchema"]
    if not isinstance(json_schema, dict):
        raise FileInvalid(f"{path}: jsonSchema must be an object")
    try:
        sha256, warnings = check_schema(json_schema)
    except SchemaInvalid as problem:
        raise FileInvalid(f"{path}: {problem}") from None
    for field, right in (("schemaId", schema_id), ("kind", KIND), ("sha256", sha256)):
        if stated.get(field, right) != right:
            raise FileInvalid(f"{path}: {field} must be {right}")
    document = {**stated, "schemaId": schema_id, "kind": KIND, "sha256": sha256}
    return Entry(entry_id=schema_id, document=document, sha256=sha256, warnings=warnings)


def read_entries(paths: Sequence[Path], read: ReadEntry) -> Sequence[Entry]:
    """The entries in these files, and in the JSON files of these folders.

    Raises:
        FileInvalid: the first problem, or two files with the same name, or too many.
    """
    files = [file for path in paths for file in _files(path)]
    if len(files) > MAX_FILES:
        raise FileInvalid(f"{len(files)} files, at most {MAX_FILES} at once")
    entries = [read(file) for file in files]
    ids = [entry.entry_id for entry in entries]
    twice = next((name for name in ids if ids.count(name) > 1), None)
    if twice is not None:
        raise FileInvalid(f"{twice} is given twice")
    return entries


def next_version(entry_id: str, taken: Sequence[str]) -> str:
    """The first free id after this one with the same name and major version."""
    match = _VERSION.fullmatch(entry_id)
    if match is None:
        raise ValueError("the id has no version")
    minors = [
        int(other["minor"])
        for other in map(_VERSION.fullmatch, taken)
        if other is not None and other["name"] == match["name"]
    ]
    return f"{match['name']}{max([int(match['minor']), *minors]) + 1}"


def predecessor(entry_id: str, taken: Sequence[str]) -> str | None:
    """The latest published id before this one with the same name and major version."""
    match = _VERSION.fullmatch(entry_id)
    earlier = [
        (int(other["minor"]), other[0])
        for other in map(_VERSION.fullmatch, taken)
        if match and other and other["name"] == match["name"]
    ]
    before = [each for each in earlier if match and each[0] < int(match["minor"])]
    return max(before)[1] if before else None


_PROMPT_EXAMPLE = "llm_prompt_1d_report_v1_0.json"
_SCHEMA_EXAMPLE = "llm_schema_1d_report_v1_0.json"


def _files(path: Path) -> Sequence[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(path.glob("*.json"))
    if not files:
        raise FileInvalid(f"{path}: no .json file in this folder")
    return files


def _object(path: Path) -> dict[str, Any]:
    try:
        size_bytes = path.stat().st_size
        data = path.read_bytes() if size_bytes <= MAX_FILE_BYTES else b""
    except OSError as problem:
        raise FileInvalid(f"{path}: {problem.strerror}") from None
    if size_bytes > MAX_FILE_BYTES:
        raise FileInvalid(f"{path}: {size_bytes} bytes, at most {MAX_FILE_BYTES} are allowed")
    try:
        value = parse_strict_json(data)
    except NotJson as problem:
        raise FileInvalid(f"{path}: {problem}") from None
    if not isinstance(value, dict):
        raise FileInvalid(f"{path}: must be a JSON object")
    return value


def _only(path: Path, data: Mapping[str, Any], known: frozenset[str]) -> None:
    unknown = sorted(data.keys() - known)
    if unknown:
        raise FileInvalid(
            f"{path}: {unknown[0][:64]} is no field; known: {', '.join(sorted(known))}"
        )
