"""The registry of prompts and schemas: written once, never changed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from operator import attrgetter
from random import Random
from typing import Any, TypeAlias

from executor.contract.canonical import canonical_hash
from infra.ops.environment.connection import Connection
from infra.ops.registry.evidence import EVALUATION_FIELD
from infra.ops.registry.files import Entry, ReadEntry, next_version, read_prompt, read_schema
from infra.ops.runs.reading import CALL_SECONDS
from shared.domain.documents import Create, DocumentRef, Snapshot
from shared.domain.times import rfc3339
from shared.guarded import Backoff, Done, Tries, guarded
from shared.ports import Clock, Conflict, StoreUnavailable
from shared.settings import Collections

MAX_LISTED = 2_000
_TRIES = Tries(limit=3, backoff=Backoff(first_seconds=0.1, longest_seconds=1.0))
#: Fields that say when an entry was made and whether it is used, and nothing of its content:
#: they may differ between a file and what was published from it.
_LIFECYCLE = frozenset({"createdAt", "isActive", EVALUATION_FIELD})


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryKind:
    """One of the two registries."""

    name: str
    #: Which of an environment's collections it is.
    collection: Callable[[Collections], str]
    read: ReadEntry


PROMPTS = RegistryKind(
    name="prompt",
    collection=attrgetter("prompts"),
    read=read_prompt,
)
SCHEMAS = RegistryKind(
    name="schema",
    collection=attrgetter("schemas"),
    read=read_schema,
)


class Standing(StrEnum):
    """How an entry stands to what is published under its id."""

    NEW = "new"
    UNCHANGED = "unchanged"
    DIFFERENT = "different"


_Standings: TypeAlias = Mapping[str, Standing]


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

        async def commit(found: _Standings) -> Done[_Standings] | None:
            new = [entry for entry in entries if found[entry.entry_id] is Standing.NEW]
            if not new or Standing.DIFFERENT in found.values():
                return Done(found)
            creations = [self._create(entry) for entry in new]
            try:
                await self.connection.documents.commit(creations, timeout_seconds=CALL_SECONDS)
            except Conflict:
                return None  # Somebody published one of them meanwhile: look again.
            return Done(found)

        async def read_back(_: _Standings) -> _Standings:
            return await self.standings(entries)

        return await guarded(
            await self.standings(entries),
            commit=commit,
            read_back=read_back,
            tries=_TRIES,
            random=Random(),  # noqa: S311 -- jitter is no secret
            exhausted=lambda: StoreUnavailable("others are publishing the same entries"),
        )

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
    return kind.collection(connection.collections)


def standing(entry: Entry, published: Mapping[str, Any] | None) -> Standing:
    """How the entry stands to the published document of its id."""
    if published is None:
        return Standing.NEW
    known = [each for each in (entry.document, entry.as_written) if each is not None]
    same = any(_states(published, each) for each in known)
    return Standing.UNCHANGED if same else Standing.DIFFERENT


def _states(published: Mapping[str, Any], document: Mapping[str, Any]) -> bool:
    stated = {name: value for name, value in document.items() if name not in _LIFECYCLE}
    return all(_same(value, published.get(name)) for name, value in stated.items())


def _same(stated: Any, published: Any) -> bool:
    try:
        return canonical_hash(stated) == canonical_hash(published)
    except ValueError:
        return False
