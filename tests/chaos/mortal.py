"""Ports of a process that dies: from the moment of its death on, none of its calls ends.

That is what a SIGKILL looks like from outside: no handler runs, nothing more is written,
nothing is given back. What others were asked before, they go on doing.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from executor.contract.artifacts import GcsUri
from executor.ports import (
    BackgroundModel,
    CallState,
    KeptCall,
    LanguageModel,
    ModelAnswer,
    ModelRequest,
    ObjectInfo,
    ObjectStore,
    StoredObject,
)
from shared.domain.documents import DocumentRef, Snapshot, Update, Version, Write
from shared.domain.job_documents import COLLECTION
from shared.ports import DocumentStore


class Point(StrEnum):
    """Where a process is killed."""

    NEVER = "never"
    BEFORE_BOOKING = "before the call is booked"
    AFTER_BOOKING = "after the booking, before the call"
    BEFORE_RECORDING = "after the call began, before its id is recorded"
    DURING_CALL = "during the call"
    BEFORE_ARTIFACT = "after the answer, before the report is stored"
    AFTER_ARTIFACT = "after the report is stored, before the step is finalized"
    AFTER_FINALIZE = "after the step is finalized, before the message is acknowledged"


@dataclass(slots=True)
class Life:
    """One process: it dies at its point, or lives to the end."""

    dies: Point | None = None
    died: asyncio.Event = field(default_factory=asyncio.Event)

    async def reach(self, *points: Point) -> None:
        """Go on, if still alive."""
        if self.dies in points:
            self.died.set()
        if self.died.is_set():
            await asyncio.Event().wait()


@dataclass(slots=True, kw_only=True)
class MortalDocuments:
    """Implements the DocumentStore port."""

    inner: DocumentStore
    life: Life
    calls_booked: int = 0

    async def read(
        self, refs: Sequence[DocumentRef], *, timeout_seconds: float
    ) -> Sequence[Snapshot | None]:
        await self.life.reach()
        return await self.inner.read(refs, timeout_seconds=timeout_seconds)

    async def commit(self, writes: Sequence[Write], *, timeout_seconds: float) -> Version:
        updates = [write for write in writes if isinstance(write, Update)]
        jobs = [u.changes for u in updates if u.ref.collection == COLLECTION]
        if not jobs:
            await self.life.reach()
            return await self.inner.commit(writes, timeout_seconds=timeout_seconds)
        [job] = jobs
        books = job["llmCalls",] > self.calls_booked
        records = isinstance(job.get(("interaction",)), Mapping)
        finalizes = len(updates) > 1
        await self.life.reach(
            *([Point.BEFORE_BOOKING] if books else []),
            *([Point.BEFORE_RECORDING] if records else []),
        )
        version = await self.inner.commit(writes, timeout_seconds=timeout_seconds)
        self.calls_booked = job["llmCalls",]
        await self.life.reach(*([Point.AFTER_FINALIZE] if finalizes else []))
        return version


@dataclass(slots=True, kw_only=True)
class MortalObjects:
    """Implements the ObjectStore port."""

    inner: ObjectStore
    life: Life

    async def stat(self, uri: GcsUri, *, timeout_seconds: float) -> ObjectInfo | None:
        await self.life.reach()
        return await self.inner.stat(uri, timeout_seconds=timeout_seconds)

    async def read(self, uri: GcsUri, **how: Any) -> StoredObject:
        await self.life.reach()
        return await self.inner.read(uri, **how)

    async def create(self, uri: GcsUri, data: bytes, **how: Any) -> None:
        await self.life.reach(Point.BEFORE_ARTIFACT)
        await self.inner.create(uri, data, **how)
        await self.life.reach(Point.AFTER_ARTIFACT)

    async def prove_writable(self, uri: GcsUri, *, timeout_seconds: float) -> None:
        await self.life.reach()
        await self.inner.prove_writable(uri, timeout_seconds=timeout_seconds)


@dataclass(slots=True, kw_only=True)
class MortalModel:
    """Implements the LanguageModel port."""

    inner: LanguageModel
    life: Life

    async def generate(self, request: ModelRequest, *, timeout_seconds: float) -> ModelAnswer:
        await self.life.reach(Point.AFTER_BOOKING)
        answer = await self.inner.generate(request, timeout_seconds=timeout_seconds)
        await self.life.reach(Point.DURING_CALL)
        return answer


@dataclass(slots=True, kw_only=True)
class MortalBackground:
    """Implements the BackgroundModel port."""

    inner: BackgroundModel
    life: Life

    async def begin(self, request: ModelRequest, *, timeout_seconds: float) -> str:
        await self.life.reach(Point.AFTER_BOOKING)
        return await self.inner.begin(request, timeout_seconds=timeout_seconds)

    async def fetch(self, call_id: str, *, timeout_seconds: float) -> CallState:
        await self.life.reach(Point.DURING_CALL)
        return await self.inner.fetch(call_id, timeout_seconds=timeout_seconds)

    async def describe(self, call_id: str, *, timeout_seconds: float) -> KeptCall | None:
        await self.life.reach()
        return await self.inner.describe(call_id, timeout_seconds=timeout_seconds)

    async def stop(self, call_id: str, *, timeout_seconds: float) -> None:
        await self.life.reach()
        await self.inner.stop(call_id, timeout_seconds=timeout_seconds)

    async def forget(self, call_id: str, *, ended: bool, timeout_seconds: float) -> None:
        await self.life.reach()
        await self.inner.forget(call_id, ended=ended, timeout_seconds=timeout_seconds)
