"""The registry of prompts and schemas: written once, never changed."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from infra.ops.connection import Connection
from infra.ops.registry_files import Entry, ReadEntry, next_version, read_prompt, read_schema
from infra.ops.run_reading import CALL_SECONDS
from shared.domain.canonical import canonical_hash
from shared.domain.documents import Create, DocumentRef, Snapshot
from shared.domain.times import rfc3339
from shared.ports import Clock, Conflict, StoreUnavailable

MAX_LISTED = 2_000
_MAX_TRIES = 3
#: When and whether, not what: may differ between a file and what was published from it.
_LIFECYCLE = frozenset({"createdAt", "isActive"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryKind:
    """One of the two registries."""

    name: str
    collection: str
    variable: str
    read: ReadEntry


PROMPTS = RegistryKind(
    name="prompt",
    collection="llm_prompts",
    variable="LLM_PROMPTS_COLLECTION",
    read=read_prompt,
)
SCHEMAS = RegistryKind(
    name="schema",
    collection="llm_schemas",
    variable="LLM_SCHEMAS_COLLECTION",
    read=read_schema,
)


class Standing(StrEnum):
    """How an entry stands to what is published under its id."""

    NEW = "new"
    UNCHANGED = "unchanged"
    DIFFERENT = "different"


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """The prompts, or the schemas, of an environment."""

    connection: Connection
    kind: RegistryKind
    clock: Clock

    async def ids(self) -> Sequence[str]:
        """What is published, at most 2,000 ids.

        Raises:
            StoreUnavailable: Firestore did not answer.
        """
        return await self.connection.runs.ids(
            self._collection, limit=MAX_LISTED, timeout_seconds=CALL_SECONDS
        )

    async def read(self, ids: Sequence[str]) -> Sequence[Snapshot | None]:
        """The published documents of these ids.

        Raises:
            StoreUnavailable: Firestore did not answer.
        """
        refs = [DocumentRef(self._collection, entry_id) for entry_id in ids]
        return await self.connection.documents.read(refs, timeout_seconds=CALL_SECONDS)

    async def standings(self, entries: Sequence[Entry]) -> Mapping[str, Standing]:
        """How each entry stands, by id.

        Raises:
            StoreUnavailable: Firestore did not answer.
        """
        published = await self.read([entry.entry_id for entry in entries])
        return {
            entry.entry_id: standing(entry, found.data if found else None)
            for entry, found in zip(entries, published, strict=True)
        }

    async def publish(self, entries: Sequence[Entry]) -> Mapping[str, Standing]:
        """Create what is new, all or nothing; how each entry stood before.

        Nothing is created while an entry differs from what is published under its id.

        Raises:
            StoreUnavailable: Firestore did not answer; nothing or all of it is published.
        """
        for _ in range(_MAX_TRIES):
            found = await self.standings(entries)
            new = [entry for entry in entries if found[entry.entry_id] is Standing.NEW]
            if not new or Standing.DIFFERENT in found.values():
                return found
            try:
                await self.connection.documents.commit(
                    [self._create(entry) for entry in new], timeout_seconds=CALL_SECONDS
                )
            except Conflict:
                continue  # Somebody published one of them meanwhile: look again.
            return found
        raise StoreUnavailable("others are publishing the same entries")

    async def next_version(self, entry_id: str) -> str:
        """The id to publish other content under.

        Raises:
            StoreUnavailable: Firestore did not answer.
        """
        return next_version(entry_id, await self.ids())

    @property
    def _collection(self) -> str:
        return collection_of(self.connection, self.kind)

    def _create(self, entry: Entry) -> Create:
        data = dict(entry.document)
        if self.kind is SCHEMAS:
            data.setdefault("createdAt", rfc3339(self.clock.now()))
        return Create(ref=DocumentRef(self._collection, entry.entry_id), data=data)


def collection_of(connection: Connection, kind: RegistryKind) -> str:
    """Where the environment keeps this registry."""
    if connection.local:
        return kind.collection
    return os.environ.get(kind.variable) or kind.collection


def standing(entry: Entry, published: Mapping[str, Any] | None) -> Standing:
    """How the entry stands to the published document of its id."""
    if published is None:
        return Standing.NEW
    stated = {name: value for name, value in entry.document.items() if name not in _LIFECYCLE}
    same = all(_same(value, published.get(name)) for name, value in stated.items())
    return Standing.UNCHANGED if same else Standing.DIFFERENT


def _same(stated: Any, published: Any) -> bool:
    try:
        return canonical_hash(stated) == canonical_hash(published)
    except ValueError:
        return False
