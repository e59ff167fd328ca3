"""The ports of one cell: a case, asked by one variant, apart from every other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from executor.billing.day import COLLECTION as SPEND
from executor.contract.artifacts import GcsUri
from executor.contract.canonical import sha256_hex
from executor.ports import (
    ObjectInfo,
    ObjectMissing,
    ObjectStore,
    ObjectsUnavailable,
    ObjectTooLarge,
    StoredObject,
)
from infra.ops.evaluation.cases.case import Source
from shared.domain.documents import DocumentRef, Snapshot, Version, Write
from shared.domain.pace_documents import COLLECTION as PACING
from shared.ports import DocumentStore

_RUN_ACCOUNT = "run~"
#: One account for all runs: the ceiling is that of the evaluation.
_ONE_ACCOUNT = f"{_RUN_ACCOUNT}evaluation"


@dataclass(frozen=True, slots=True, kw_only=True)
class CellDocuments:
    """Implements the DocumentStore port within one store of all cells.

    Run and job are the cell's own, prompt and schema are what the variant says. What a provider
    takes is learned by all cells together, and spending is booked on one account for all of
    them.
    """

    store: DocumentStore
    cell: str
    #: Prompts and schemas, which nobody writes.
    registry: Mapping[DocumentRef, Mapping[str, Any]]
    #: Collections of the registry: what is not in it does not exist.
    registry_collections: frozenset[str]

    async def read(
        self, refs: Sequence[DocumentRef], *, timeout_seconds: float
    ) -> Sequence[Snapshot | None]:
        """See the port."""
        stored = await self.store.read(
            [self._stored(ref) for ref in refs], timeout_seconds=timeout_seconds
        )
        return [
            self._registered(ref)
            if ref.collection in self.registry_collections
            else found and replace(found, ref=ref)
            for ref, found in zip(refs, stored, strict=True)
        ]

    async def commit(self, writes: Sequence[Write], *, timeout_seconds: float) -> Version:
        """See the port."""
        moved = [replace(write, ref=self._stored(write.ref)) for write in writes]
        return await self.store.commit(moved, timeout_seconds=timeout_seconds)

    def _registered(self, ref: DocumentRef) -> Snapshot | None:
        data = self.registry.get(ref)
        return None if data is None else Snapshot(ref=ref, version=Version(1), data=data)

    def _stored(self, ref: DocumentRef) -> DocumentRef:
        if ref.collection == PACING:
            return ref
        if ref.collection != SPEND:
            return DocumentRef(ref.collection, f"{self.cell}/{ref.document_id}")
        run_account = ref.document_id.startswith(_RUN_ACCOUNT)
        return DocumentRef(SPEND, _ONE_ACCOUNT) if run_account else ref


@dataclass(frozen=True, slots=True, kw_only=True)
class CellObjects:
    """Implements the ObjectStore port: the case's pinned sources, and the cell's own report."""

    sources: Mapping[GcsUri, Source]
    #: Where the bytes of sources lie, by their hash.
    pinned: Path
    #: Where the report goes.
    reports: ObjectStore

    async def stat(self, uri: GcsUri, *, timeout_seconds: float) -> ObjectInfo | None:
        """See the port."""
        return await self.reports.stat(uri, timeout_seconds=timeout_seconds)

    async def read(
        self, uri: GcsUri, *, max_bytes: int, timeout_seconds: float
    ) -> StoredObject:
        """See the port; bytes that are not those that were pinned are never given."""
        source = self.sources.get(uri)
        if source is None:
            return await self.reports.read(
                uri, max_bytes=max_bytes, timeout_seconds=timeout_seconds
            )
        if source.size_bytes > max_bytes:
            raise ObjectTooLarge(source.size_bytes)
        try:
            data = (self.pinned / source.sha256).read_bytes()
        except FileNotFoundError:
            raise ObjectMissing(str(uri)) from None
        if sha256_hex(data) != source.sha256:
            raise ObjectsUnavailable("its pinned bytes were changed")
        return StoredObject(data=data, generation=source.generation)

    async def create(
        self,
        uri: GcsUri,
        data: bytes,
        *,
        content_type: str,
        metadata: Mapping[str, str],
        timeout_seconds: float,
    ) -> None:
        """See the port."""
        await self.reports.create(
            uri,
            data,
            content_type=content_type,
            metadata=metadata,
            timeout_seconds=timeout_seconds,
        )

    async def prove_writable(self, uri: GcsUri, *, timeout_seconds: float) -> None:
        """See the port."""
        await self.reports.prove_writable(uri, timeout_seconds=timeout_seconds)
