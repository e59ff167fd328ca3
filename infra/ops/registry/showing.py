"""`worker-llm prompts show` and `schemas show`: one entry, its versions and its uses."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.ops.cli.options import Where
from infra.ops.cli.terminal import harmless, print_json, say
from infra.ops.environment.connection import Connection, connect
from infra.ops.environment.listing import NewestFirst
from infra.ops.environment.stored_documents import map_at, text_at
from infra.ops.registry.commands import content_hash, size_bytes
from infra.ops.registry.documents import PROMPTS, Registry, RegistryKind
from infra.ops.registry.files import same_name
from infra.ops.runs.reading import CALL_SECONDS, NotFound
from shared.adapters.clock import SystemClock

_RUNS_LOOKED_AT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryUse:
    """A step that names the entry."""

    run_id: str
    step_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownEntry:
    """A published prompt or schema."""

    entry_id: str
    sha256: str
    size_bytes: int
    document: Mapping[str, Any]
    #: The ids of all versions, this one included.
    versions: Sequence[str]
    uses: Sequence[EntryUse]
    #: How many of the newest runs were looked at for uses.
    looked_at: int

    def as_json(self) -> dict[str, Any]:
        """The entry as `show --json` prints it."""
        return {
            "id": self.entry_id,
            "sha256": self.sha256,
            "bytes": self.size_bytes,
            "document": dict(self.document),
            "versions": list(self.versions),
            "usedBy": [{"runId": use.run_id, "stepId": use.step_id} for use in self.uses],
            "lookedAt": self.looked_at,
        }


async def show(where: Where, kind: RegistryKind, entry_id: str, *, as_json: bool) -> int:
    """Print the entry."""
    async with connect(where) as connection:
        entry = await read_entry(connection, kind, entry_id)
    if as_json:
        print_json(entry.as_json())
        return 0
    for line in text_lines(entry.document):
        say(harmless(line))
    say(f"sha256 {entry.sha256}, {entry.size_bytes} bytes", err=True)
    say(f"versions: {', '.join(entry.versions)}", err=True)
    uses = ", ".join(f"{use.run_id} {use.step_id}" for use in entry.uses) or "none"
    say(harmless(f"used in the newest {entry.looked_at} runs by: {uses}"), err=True)
    return 0


async def read_entry(connection: Connection, kind: RegistryKind, entry_id: str) -> ShownEntry:
    """One entry of the registry.

    Raises:
        NotFound: there is none of this id.
        StoreUnavailable: Firestore did not answer.
    """
    registry = Registry(connection=connection, kind=kind, clock=SystemClock())
    published = await registry.ids()
    if entry_id not in published:
        raise NotFound(f"no {kind.name} {entry_id!r} is published in {connection.name}")
    [found] = await registry.read([entry_id])
    if found is None:
        raise NotFound(f"{kind.name} {entry_id!r} was just removed")
    newest = NewestFirst(collection=connection.flow_runs, limit=_RUNS_LOOKED_AT)
    runs = await connection.runs.find(newest, timeout_seconds=CALL_SECONDS)
    return ShownEntry(
        entry_id=entry_id,
        sha256=content_hash(kind, found),
        size_bytes=size_bytes(found),
        document=found.data,
        versions=same_name(entry_id, published),
        uses=[
            EntryUse(run_id=run.ref.document_id, step_id=step_id)
            for run in runs
            for step_id, step in map_at(run.data, "steps").items()
            if _named(kind, step) == entry_id
        ],
        looked_at=len(runs),
    )


def text_lines(document: Mapping[str, Any]) -> Sequence[str]:
    """The document's fields, texts as they are and the rest as JSON."""
    lines: list[str] = []
    for name, value in document.items():
        is_text = isinstance(value, str)
        text = (
            value if is_text else json.dumps(value, ensure_ascii=False, indent=2, default=str)
        )
        lines += [f"{name}:", *(f"  {line}" for line in str(text).splitlines())]
    return lines


def _named(kind: RegistryKind, step: object) -> str | None:
    llm = map_at(step, "inputs", "llm")
    if kind is PROMPTS:
        return text_at(llm, "promptId")
    return text_at(llm, "llmProfile", "structuredOutput", "schemaId")
