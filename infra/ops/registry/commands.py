"""`worker-llm prompts` and `worker-llm schemas`."""

import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from executor.contract.canonical import canonical_hash
from infra.ops.cli.options import Where
from infra.ops.cli.terminal import harmless, print_json, print_line, say
from infra.ops.environment.connection import connect
from infra.ops.environment.stored_documents import text_at
from infra.ops.registry.documents import SCHEMAS, Registry, RegistryKind, Standing
from infra.ops.registry.evidence import EVALUATION_FIELD, with_evidence
from infra.ops.registry.files import Entry, predecessor, read_entries, read_nameless_schema
from shared.adapters.clock import SystemClock
from shared.domain.documents import Snapshot

_REFUSED = 1
_DIFFERENT = 1


async def publish(
    where: Where,
    kind: RegistryKind,
    paths: Sequence[Path],
    *,
    evaluation: Path | None,
    as_json: bool,
) -> int:
    """Create what is new; 1 if an entry differs from what is published, and then nothing is."""
    entries = read_entries(paths, kind.read)
    if evaluation is not None:
        entries = with_evidence(entries, evaluation)
    async with connect(where) as connection:
        registry = Registry(connection=connection, kind=kind, clock=SystemClock())
        found = await registry.publish(entries)
        different = [name for name, each in found.items() if each is Standing.DIFFERENT]
        instead = {name: await registry.next_version(name) for name in different}
    for entry in entries:
        for warning in entry.warnings:
            say(harmless(f"{entry.entry_id}: warning: {warning}"), err=True)
    if as_json:
        published = [] if different else _named(found, Standing.NEW)
        unchanged = _named(found, Standing.UNCHANGED)
        print_json({"published": published, "unchanged": unchanged, "different": instead})
    else:
        _say_published(found, instead)
    return _REFUSED if different else 0


async def diff(
    where: Where, kind: RegistryKind, paths: Sequence[Path], *, as_json: bool
) -> int:
    """Show what publishing would add or could not change; 1 if there is anything."""
    entries = read_entries(paths, kind.read)
    async with connect(where) as connection:
        registry = Registry(connection=connection, kind=kind, clock=SystemClock())
        found = await registry.standings(entries)
        taken = await registry.ids()
        against = [_against(entry, found[entry.entry_id], taken) for entry in entries]
        known = [name for name in against if name is not None]
        published = dict(zip(known, await registry.read(known) if known else [], strict=True))
    differences = [
        {
            "id": entry.entry_id,
            "standing": str(found[entry.entry_id]),
            "against": other,
            "diff": "" if _unchanged(entry, found) else _diff(entry, other, published),
        }
        for entry, other in zip(entries, against, strict=True)
    ]
    if as_json:
        print_json({"differences": differences})
    else:
        _say_differences(differences)
    return 0 if all(_unchanged(entry, found) for entry in entries) else _DIFFERENT


async def list_published(where: Where, kind: RegistryKind, *, as_json: bool) -> int:
    """List what is published."""
    async with connect(where) as connection:
        registry = Registry(connection=connection, kind=kind, clock=SystemClock())
        ids = await registry.ids()
        found = [each for each in await registry.read(ids) if each] if ids else []
    rows = [
        {
            "id": each.ref.document_id,
            "sha256": content_hash(kind, each),
            "bytes": size_bytes(each),
            "evaluation": text_at(each.data, EVALUATION_FIELD),
        }
        for each in found
    ]
    if as_json:
        print_json({f"{kind.name}s": rows})
        return 0
    for row in rows:
        print_line([row["id"], row["sha256"], row["bytes"], row["evaluation"]])
    if not rows:
        say(f"no {kind.name} is published in {connection.name}", err=True)
    return 0


async def hash_files(paths: Sequence[Path], *, as_json: bool) -> int:
    """Print the hash of each schema in a file, whatever the file is called."""
    entries = read_entries(paths, read_nameless_schema)
    if as_json:
        rows = [
            {"id": each.entry_id, "sha256": each.sha256, "warnings": list(each.warnings)}
            for each in entries
        ]
        print_json({"hashes": rows})
        return 0
    for entry in entries:
        print_line([entry.sha256, harmless(entry.entry_id)])
        for warning in entry.warnings:
            say(harmless(f"{entry.entry_id}: warning: {warning}"), err=True)
    return 0


def _say_published(found: Mapping[str, Standing], instead: Mapping[str, str]) -> None:
    for name, each in found.items():
        if each is Standing.NEW:
            print_line([name, "not published" if instead else "published"])
        elif each is Standing.UNCHANGED:
            print_line([name, "unchanged"])
    for name, free in instead.items():
        say(
            f"{name}: published with other content, and never changed:"
            f" name the file {free}.json instead",
            err=True,
        )


def _say_differences(differences: Sequence[Mapping[str, Any]]) -> None:
    for each in differences:
        name, other = each["id"], each["against"]
        if each["standing"] == Standing.UNCHANGED:
            print_line([name, "unchanged"])
            continue
        suffix = "" if other in {None, name} else f", against {other}"
        print_line([name, each["standing"] + suffix])
        say(harmless(each["diff"]))


def _named(found: Mapping[str, Standing], wanted: Standing) -> Sequence[str]:
    return [name for name, each in found.items() if each is wanted]


def _unchanged(entry: Entry, found: Mapping[str, Standing]) -> bool:
    return found[entry.entry_id] is Standing.UNCHANGED


def _against(entry: Entry, found: Standing, taken: Sequence[str]) -> str | None:
    return predecessor(entry.entry_id, taken) if found is Standing.NEW else entry.entry_id


def _diff(entry: Entry, other: str | None, published: Mapping[str, Snapshot | None]) -> str:
    before = published.get(other) if other else None
    lines = difflib.unified_diff(
        _lines(before.data if before else {}, entry.document),
        _lines(entry.document, entry.document),
        fromfile=f"{other} (published)" if other else "(nothing published)",
        tofile=f"{entry.entry_id} (file)",
        lineterm="",
    )
    return "\n".join(lines)


def _lines(document: Mapping[str, Any], wanted: Mapping[str, Any]) -> Sequence[str]:
    """The fields that the file states, texts with their line breaks."""
    lines: list[str] = []
    for name in sorted(document.keys() & wanted.keys()):
        value = document[name]
        text = (
            value
            if isinstance(value, str)
            else json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True)
        )
        lines += [f"{name}:", *(f"  {line}" for line in text.splitlines())]
    return lines


def content_hash(kind: RegistryKind, published: Snapshot) -> str:
    """Recomputed: what the document says of itself may be wrong."""
    data = published.data
    content = (
        data.get("jsonSchema")
        if kind is SCHEMAS
        else [data.get("systemInstruction"), data.get("userPrompt")]
    )
    try:
        return canonical_hash(content)
    except ValueError:
        return "no canonical JSON"


def size_bytes(published: Snapshot) -> int:
    """The size of the published document as JSON."""
    return len(json.dumps(published.data, ensure_ascii=False, default=str).encode())
