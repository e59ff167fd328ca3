"""A store for the ledger in which everything goes wrong, and time that stands still."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random

from infra.local.embedded.documents import EmbeddedDocuments
from shared.domain.documents import DocumentRef, Snapshot, Version, Write
from shared.ports import StoreUnavailable

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)


class NoWait(Random):
    """Draws no waits."""

    def uniform(self, a: float, b: float) -> float:
        """The shortest wait of all."""
        del a, b
        return 0.0


class Still:
    """Implements the Clock port by one moment."""

    def now(self) -> datetime:
        """See the port."""
        return NOW

    def monotonic(self) -> float:
        """See the port."""
        return 0.0


@dataclass(slots=True)
class Adversary:
    """A store that lets others write first, refuses, and loses answers, as told."""

    store: EmbeddedDocuments
    script: Iterator[int]
    calls: int = 0

    async def read(
        self, refs: Sequence[DocumentRef], *, timeout_seconds: float
    ) -> Sequence[Snapshot | None]:
        """See the port."""
        self.calls += 1
        await self._let_others_go_first()
        found = await self.store.read(refs, timeout_seconds=timeout_seconds)
        await self._let_others_go_first()
        return found

    async def commit(self, writes: Sequence[Write], *, timeout_seconds: float) -> Version:
        """See the port."""
        self.calls += 1
        await self._let_others_go_first()
        fault = self._next() % 8
        if fault == 0:
            raise StoreUnavailable("refused")
        version = await self.store.commit(writes, timeout_seconds=timeout_seconds)
        if fault == 1:
            raise StoreUnavailable("the answer was lost")
        await self._let_others_go_first()
        return version

    async def _let_others_go_first(self) -> None:
        for _ in range(self._next() % 4):
            await asyncio.sleep(0)

    def _next(self) -> int:
        return next(self.script, 2)
