"""The ports of one process, each of whose operations goes through the world."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from executor.contract.artifacts import GcsUri
from executor.ports import (
    ModelAnswer,
    ModelRequest,
    ObjectExists,
    ObjectInfo,
    ObjectsRefused,
    ObjectsUnavailable,
    StoredObject,
)
from shared.domain.documents import DocumentRef, Snapshot, Version, Write
from shared.domain.errors import GeminiAccessDenied, GeminiRequestFailed, StepError
from shared.domain.messages import OutgoingMessage
from shared.ports import (
    Conflict,
    QueueRefused,
    QueueUnavailable,
    StoreRefused,
    StoreUnavailable,
)
from tests.simulation.bucket import Bucket
from tests.simulation.delivery import MessageStore
from tests.simulation.ledger import CallSeen
from tests.simulation.metering import Gate
from tests.simulation.model import (
    blocked_answer,
    good_answer,
    invalid_answer,
    marker_of,
    rate_limited,
    thinking_seconds,
    unanswered,
    unfit_request,
)
from tests.simulation.nemesis import Fault, Kind
from tests.simulation.process import Process
from tests.simulation.records import Records
from tests.simulation.surroundings import PAGE_WEIGHT
from tests.simulation.world import Call, World

#: How soon a refusal comes.
_REFUSAL_SECONDS = 0.2
#: What a port says when it refuses access.
FORBIDDEN = "403 Forbidden: simulated"


class Observer(Protocol):
    """Is told of every effect outside the documents, at the moment when it happens."""

    def stored(self, who: Process, uri: GcsUri) -> None:
        """`who` stored an object."""

    def called(self, who: Process, request: ModelRequest) -> CallSeen | None:
        """`who` called the model."""

    def call_ended(self, call: CallSeen | None, *, free: bool) -> None:
        """The call has ended: its caller has the answer, or knows that it is free."""

    def published(self, who: Process, messages: Sequence[OutgoingMessage]) -> None:
        """`who` published messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedDocuments:
    """Implements the DocumentStore and UnfinishedWork ports."""

    world: World
    process: Process
    records: Records

    async def read(
        self, refs: Sequence[DocumentRef], *, timeout_seconds: float
    ) -> Sequence[Snapshot | None]:
        """See the port."""
        call = self._call(Kind.READ, _names(refs), timeout_seconds)

        async def read() -> Sequence[Snapshot | None]:
            if not all(map(_is_name, refs)):
                raise StoreRefused("INVALID_ARGUMENT: no name of a document", unfit=True)
            return await self.records.documents.read(refs, timeout_seconds=0)

        return await self.world.perform(call, read)

    async def commit(self, writes: Sequence[Write], *, timeout_seconds: float) -> Version:
        """See the port."""
        target = _names([write.ref for write in writes])

        async def unfit() -> Version:
            if not self.records.guards_hold(writes):
                raise Conflict("simulated")
            raise self.records.refusal(self.process, writes)

        instead = {Fault.UNFIT: unfit}
        call = self._call(Kind.COMMIT, target, timeout_seconds, instead=instead)
        return await self.world.perform(call, lambda: self.records.commit(self.process, writes))

    async def due_jobs(
        self,
        now: datetime,
        *,
        after: Snapshot | None,
        limit: int,
        timeout_seconds: float,
        heads: bool = False,
    ) -> Sequence[Snapshot]:
        """See the port."""
        call = self._call(Kind.QUERY, "due jobs", timeout_seconds)
        store = self.records.documents

        async def look() -> Sequence[Snapshot]:
            page = await store.due_jobs(now, after=after, limit=limit, timeout_seconds=0)
            return await self._in_time(page, timeout_seconds, heads=heads)

        return await self.world.perform(call, look)

    async def waiting_jobs(
        self, *, after: str, before: str, limit: int, timeout_seconds: float
    ) -> Sequence[Snapshot]:
        """See the port."""
        call = self._call(Kind.QUERY, "waiting jobs", timeout_seconds)
        store = self.records.documents
        return await self.world.perform(
            call,
            lambda: store.waiting_jobs(
                after=after, before=before, limit=limit, timeout_seconds=0
            ),
        )

    async def count_waiting(self, *, after: str, before: str, timeout_seconds: float) -> int:
        """See the port."""
        call = self._call(Kind.QUERY, "the number of waiting jobs", timeout_seconds)
        store = self.records.documents
        return await self.world.perform(
            call, lambda: store.count_waiting(after=after, before=before, timeout_seconds=0)
        )

    async def running_runs(
        self,
        collection: str,
        *,
        after: str | None,
        limit: int,
        timeout_seconds: float,
        heads: bool = False,
    ) -> Sequence[Snapshot]:
        """See the port."""
        call = self._call(Kind.QUERY, "running runs", timeout_seconds)
        store = self.records.documents

        async def look() -> Sequence[Snapshot]:
            page = await store.running_runs(
                collection, after=after, limit=limit, timeout_seconds=0
            )
            return await self._in_time(page, timeout_seconds, heads=heads)

        return await self.world.perform(call, look)

    async def _in_time(
        self, page: Sequence[Snapshot], timeout_seconds: float, *, heads: bool
    ) -> Sequence[Snapshot]:
        """The page, if it can be brought in time; a page of heads always can."""
        if heads:
            return [replace(document, data=_head(document.data)) for document in page]
        if self.records.weigh(page) > PAGE_WEIGHT:
            await asyncio.sleep(timeout_seconds)
            raise StoreUnavailable("simulated")
        return page

    def _call(
        self,
        kind: Kind,
        target: str,
        timeout_seconds: float,
        *,
        instead: Mapping[Fault, Callable[[], Awaitable[Version]]] | None = None,
    ) -> Call:
        return Call(
            process=self.process,
            kind=kind,
            target=target,
            timeout_seconds=timeout_seconds,
            refused=StoreUnavailable("simulated"),
            unanswered=StoreUnavailable("simulated"),
            forbidden=StoreRefused(FORBIDDEN),
            done_before=Conflict("simulated"),
            instead=instead or {},
        )


def _head(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The parts of the document that a query needs to continue after it."""
    return {name: value for name, value in data.items() if name == "wakeAt"}


def _is_name(ref: DocumentRef) -> bool:
    return bool(ref.document_id) and "/" not in ref.document_id


def _names(refs: Sequence[DocumentRef]) -> str:
    return " ".join(f"{ref.collection}/{ref.document_id[-12:]}" for ref in refs)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedObjects:
    """Implements the ObjectStore port."""

    world: World
    process: Process
    bucket: Bucket
    observer: Observer

    async def stat(self, uri: GcsUri, *, timeout_seconds: float) -> ObjectInfo | None:
        """See the port."""

        async def stat() -> ObjectInfo | None:
            blob = self.bucket.blobs.get(uri)
            if blob is None:
                return None
            return ObjectInfo(
                size_bytes=len(blob.data), generation=blob.generation, metadata=blob.metadata
            )

        return await self.world.perform(self._call(Kind.STAT, uri, timeout_seconds), stat)

    async def read(
        self, uri: GcsUri, *, max_bytes: int, timeout_seconds: float
    ) -> StoredObject:
        """See the port."""

        async def read() -> StoredObject:
            blob = self.bucket.read(uri, max_bytes)
            return StoredObject(data=blob.data, generation=blob.generation)

        return await self.world.perform(self._call(Kind.FETCH, uri, timeout_seconds), read)

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
        del content_type

        async def create() -> None:
            self.bucket.create(uri, data, metadata)
            self.observer.stored(self.process, uri)

        await self.world.perform(self._call(Kind.CREATE, uri, timeout_seconds), create)

    async def prove_writable(self, uri: GcsUri, *, timeout_seconds: float) -> None:
        """See the port."""

        async def look() -> None:
            """Do nothing: no object is stored."""

        call = replace(self._call(Kind.STAT, uri, timeout_seconds), shares=Kind.CREATE)
        await self.world.perform(call, look)

    def _call(self, kind: Kind, uri: GcsUri, timeout_seconds: float) -> Call:
        return Call(
            process=self.process,
            kind=kind,
            target=uri.name,
            timeout_seconds=timeout_seconds,
            refused=ObjectsUnavailable("simulated"),
            unanswered=ObjectsUnavailable("simulated"),
            forbidden=ObjectsRefused(FORBIDDEN),
            done_before=ObjectExists("simulated"),
        )


def told_failure(problem: StepError, call: CallSeen | None, observer: Observer) -> None:
    """Say that a call ended without an answer."""
    if call is not None:
        call.final = not problem.retryable
    if not problem.maybe_billed:
        observer.call_ended(call, free=True)


async def admitted(
    gate: Gate | None, world: World, process: Process, request: ModelRequest, observer: Observer
) -> None:
    """Let the call begin, if the provider takes it.

    Raises:
        RetryableError: the provider refuses it.
    """
    refusal = gate.ask(world.loop.time()) if gate else None
    if refusal is not None:
        seen = observer.called(process, request)
        await asyncio.sleep(_REFUSAL_SECONDS)
        told_failure(refusal, seen, observer)
        raise refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedModel:
    """Implements the LanguageModel port."""

    world: World
    process: Process
    observer: Observer
    gate: Gate | None = None

    async def generate(self, request: ModelRequest, *, timeout_seconds: float) -> ModelAnswer:
        """See the port."""
        await admitted(self.gate, self.world, self.process, request, self.observer)
        seen: list[CallSeen | None] = []
        call = Call(
            process=self.process,
            kind=Kind.GENERATE,
            target=marker_of(request),
            timeout_seconds=timeout_seconds,
            refused=GeminiRequestFailed("simulated"),
            unanswered=unanswered(),
            forbidden=GeminiAccessDenied(FORBIDDEN),
            begin=lambda: seen.append(self.observer.called(self.process, request)),
            work_seconds=min(thinking_seconds(self.world.nemesis.schedule), timeout_seconds),
            instead={
                Fault.RATE_LIMITED: rate_limited,
                Fault.INVALID: invalid_answer,
                Fault.BLOCKED: blocked_answer,
                Fault.UNFIT: unfit_request,
            },
        )
        try:
            answer = await self.world.perform(call, lambda: good_answer(request))
        except StepError as problem:
            told_failure(problem, seen[0], self.observer)
            raise
        self.observer.call_ended(seen[0], free=False)
        return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedQueue:
    """Implements the Queue port."""

    world: World
    process: Process
    topic: MessageStore
    observer: Observer

    async def publish(
        self, messages: Sequence[OutgoingMessage], *, timeout_seconds: float
    ) -> None:
        """See the port."""

        async def publish(taken: Sequence[OutgoingMessage] = messages) -> None:
            self.topic.take(taken)
            self.observer.published(self.process, taken)

        async def publish_some() -> None:
            await publish(messages[: len(messages) // 2])
            raise QueueUnavailable("simulated")

        async def unfit() -> None:
            raise QueueRefused("INVALID_ARGUMENT: simulated", unfit=True)

        call = Call(
            process=self.process,
            kind=Kind.PUBLISH,
            target=f"{len(messages)} messages",
            timeout_seconds=timeout_seconds,
            refused=QueueUnavailable("simulated"),
            unanswered=QueueUnavailable("simulated"),
            forbidden=QueueRefused(FORBIDDEN),
            instead={Fault.PARTIAL: publish_some, Fault.UNFIT: unfit},
        )
        await self.world.perform(call, publish)
