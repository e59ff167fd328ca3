"""Prompts and schemas as their authors keep them: one JSON file each, named by its id."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from executor.contract.profile import KIND
from executor.contract.registry import parse_prompt
from executor.validation.property_order import order_warnings, with_ordering
from executor.validation.report_schema import SchemaInvalid, check_schema
from executor.validation.schema_advice import schema_advice
from executor.validation.strict_json import NotJson, parse_strict_json
from infra.failures import CannotBeDone
from infra.files import FileUnfit, read_bounded
from shared.domain.errors import WorkerError
from shared.domain.identifiers import PromptId, SchemaId, is_prompt_id, is_schema_id

#: A Firestore document may have 1 MiB (https://firebase.google.com/docs/firestore/quotas).
MAX_FILE_BYTES = 900_000
MAX_FILES = 200
_PROMPT_FIELDS = frozenset({"schemaVersion", "systemInstruction", "userPrompt"})
_SCHEMA_FIELDS = frozenset(
    {"schemaId", "kind", "jsonSchema", "sha256", "createdAt", "description", "isActive"}
)
_VERSION = re.compile(r"(?P<name>.*_v[0-9]+_)(?P<minor>[0-9]+)")
_ANY_VERSION = re.compile(r"(?P<name>.+)_v(?P<major>[0-9]+)_(?P<minor>[0-9]+)")


class FileInvalid(CannotBeDone):
    """A file that cannot be published; the message names it and says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A document of the registry, as a file states it, checked."""

    entry_id: str
    document: Mapping[str, Any]
    sha256: str
    #: What a version that did not keep the order of properties would have published of the
    #: file. Where that is what is published, it is as good.
    as_written: Mapping[str, Any] | None = None
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
    return _schema(path, SchemaId(path.stem))


def read_nameless_schema(path: Path) -> Entry:
    """The schema in a file of any name, as its hash does not depend on its id.

    Raises:
        FileInvalid: the schema is not fit for reports, or states another hash.
    """
    return _schema(path, None)


def _schema(path: Path, schema_id: SchemaId | None) -> Entry:
    data = _object(path)
    stated: dict[str, Any] = data if "jsonSchema" in data else {"jsonSchema": data}
    _only(path, stated, _SCHEMA_FIELDS)
    json_schema = stated["jsonSchema"]
    if not isinstance(json_schema, dict):
        raise FileInvalid(f"{path}: jsonSchema must be an object")
    try:
        written_sha256, _ = check_schema(json_schema)
        # A file has an order, which Firestore would lose. One that states its own hash is
        # published as it is: others may have pinned that.
        ordered = json_schema if "sha256" in stated else with_ordering(json_schema)
        sha256, warnings = check_schema(ordered)
    except SchemaInvalid as problem:
        raise FileInvalid(f"{path}: {problem}") from None
    name = str(schema_id or stated.get("schemaId", path.stem))
    for field, right in (("schemaId", name), ("kind", KIND), ("sha256", sha256)):
        if stated.get(field, right) != right:
            raise FileInvalid(f"{path}: {field} must be {right}")
    named = {**stated, "schemaId": name, "kind": KIND}
    return Entry(
        entry_id=name,
        document={**named, "jsonSchema": ordered, "sha256": sha256},
        as_written={**named, "sha256": written_sha256},
        sha256=sha256,
        warnings=[*schema_advice(ordered), *order_warnings(ordered), *warnings],
    )


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


def same_name(entry_id: str, taken: Sequence[str]) -> Sequence[str]:
    """The published ids that differ from this one in their version alone, in their order."""
    match = _ANY_VERSION.fullmatch(entry_id)
    others = [other for other in map(_ANY_VERSION.fullmatch, taken) if other and match]
    same = [other for other in others if match and other["name"] == match["name"]]
    same.sort(key=lambda other: (int(other["major"]), int(other["minor"])))
    return [other[0] for other in same]


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
        data = read_bounded(path, MAX_FILE_BYTES)
    except OSError as problem:
        raise FileInvalid(f"{path}: {problem.strerror}") from None
    except FileUnfit as problem:
        raise FileInvalid(str(problem)) from None
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
