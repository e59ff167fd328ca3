"""The day's ceiling under a load that no single document could take, in virtual time."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random

from executor.billing.day import DayBudget
from executor.billing.prices import MicroUsd
from executor.jobs.deadline import Deadline
from infra.local.embedded.documents import EmbeddedDocuments
from shared.domain.documents import DocumentRef, Snapshot, Version, Write
from shared.domain.errors import CostCeilingExceeded, FirestoreUnavailable
from tests.simulation.loop import make_loop
from tests.simulation.process import EPOCH

_HELD, _COST = MicroUsd(20_000), MicroUsd(9_000)
_CALL_SECONDS = 20.0
_COMMIT_SECONDS = 0.02


@dataclass(slots=True, kw_only=True)
class LedgerLoad:
    """Calls that reserve money and are charged, and how many database calls that took."""

    instances: int
    a_second: int
    seconds: int
    steps: int = 0
    given_up: int = 0
    commits: int = 0
    writes: Counter[DocumentRef] = field(default_factory=Counter)
    store: EmbeddedDocuments = field(default_factory=EmbeddedDocuments)

    def now(self) -> object:
        """See the Clock port."""
        return EPOCH + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        """See the Clock port."""
        return asyncio.get_running_loop().time()

    async def read(
        self, refs: Sequence[DocumentRef], *, timeout_seconds: float
    ) -> Sequence[Snapshot | None]:
        """See the DocumentStore port."""
        await asyncio.sleep(_COMMIT_SECONDS / 2)
        return await self.store.read(refs, timeout_seconds=timeout_seconds)

    async def commit(self, writes: Sequence[Write], *, timeout_seconds: float) -> Version:
        """See the DocumentStore port."""
        self.commits += 1
        await asyncio.sleep(_COMMIT_SECONDS / 2)
        version = await self.store.commit(writes, timeout_seconds=timeout_seconds)
        self.writes.update(write.ref for write in writes)
        return version

    async def run(self) -> None:
        """Let all instances work."""
        await asyncio.gather(*(self._instance(number) for number in range(self.instances)))

    async def _instance(self, number: int) -> None:
        random = Random(number)
        budget = DayBudget(
            documents=self,
            clock=self,  # type: ignore[arg-type]
            random=random,
            ceiling=MicroUsd(20_000_000_000),
            holder=f"instance-{number}",
        )
        pause = self.instances / self.a_second
        await asyncio.sleep(random.uniform(0, pause))
        open_calls: list[tuple[float, str]] = []
        until = self.monotonic() + self.seconds
        while self.monotonic() < until:
            now = self.monotonic()
            while open_calls and open_calls[0][0] <= now:
                budget.charge(open_calls.pop(0)[1], _COST)
            await self._reserve(budget, f"{number}-{self.steps}", open_calls)
            await asyncio.sleep(pause)

    async def _reserve(
        self, budget: DayBudget, call: str, open_calls: list[tuple[float, str]]
    ) -> None:
        self.steps += 1
        now = self.monotonic()
        deadline = Deadline(
            clock=self,  # type: ignore[arg-type]
            ends_at=now + 540,
            reserve_seconds=60,
        )
        try:
            await budget.grant(call, EPOCH.date(), _HELD, deadline)
        except (CostCeilingExceeded, FirestoreUnavailable):
            self.given_up += 1
        else:
            open_calls.append((now + _CALL_SECONDS, call))


def asyncio_run(load: LedgerLoad) -> LedgerLoad:
    """Run the load in virtual time, and return it."""
    loop = make_loop(Random(0))
    task = loop.create_task(load.run())
    loop.run(task.done, most=50_000_000)
    task.result()
    loop.close()
    return load
