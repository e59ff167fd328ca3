"""Reading before the lease is certain: the result matters only under the lease."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from executor.inputs.context import Context
from executor.inputs.prefetch import Prefetch, Prefetcher
from executor.inputs.step_inputs import InputReader
from executor.jobs.invocation import Invocation
from executor.jobs.lease import HeldJob
from executor.ports import ObjectStore
from executor.settings import ExecutorSettings
from shared.domain.errors import InvalidStepInputs
from tests.support.held_job import Documents, held, invocation, queued, virtually

#: Stands for the things at which this reader does not look.
NOTHING: Any = None
FOUND = Prefetch(
    inputs=NOTHING,
    context=Context(
        ohlcv_json="[]", chart_descriptions=[], images=[], previous_reports=[], digests=[]
    ),
)


@dataclass(frozen=True, kw_only=True)
class Reader(Prefetcher):
    """Reads for a while, and writes down how the read goes."""

    objects: ObjectStore = NOTHING
    inputs: InputReader = NOTHING
    settings: ExecutorSettings = NOTHING
    seconds: float = 1.0
    error: Exception | None = None
    said: list[str] = field(default_factory=list)

    async def read(self, work: Invocation) -> Prefetch:
        """Read as the class says."""
        self.said.append(f"begun {work.held.record.attempt}")
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.said.append("cancelled")
            raise
        if self.error:
            raise self.error
        return FOUND


async def unleased(documents: Documents) -> HeldJob:
    """A first attempt's job, whose lease is not written yet."""
    job = await held(documents)
    job.record = queued()
    return job


def test_reading_goes_on_while_the_lease_is_written() -> None:
    async def scene() -> None:
        loop, reader = asyncio.get_running_loop(), Reader()
        work = invocation(await unleased(Documents()))
        begun = loop.time()

        async with reader.prefetched(work) as prefetch:
            await asyncio.sleep(1)
            assert prefetch is not None
            assert await prefetch is FOUND

        assert loop.time() - begun == pytest.approx(1, abs=0.1)

    virtually(scene())


def test_who_loses_the_lease_reads_no_further() -> None:
    async def scene() -> None:
        reader = Reader(seconds=1_000)

        async with reader.prefetched(invocation(await unleased(Documents()))):
            await asyncio.sleep(1)

        assert reader.said == ["begun 0", "cancelled"]

    virtually(scene())


def test_an_error_disturbs_nobody_before_it_is_asked_for_under_the_lease() -> None:
    async def scene() -> None:
        reader = Reader(error=InvalidStepInputs("no candles"))

        async with reader.prefetched(invocation(await unleased(Documents()))) as prefetch:
            await asyncio.sleep(2)
            assert prefetch is not None
            with pytest.raises(InvalidStepInputs):
                await prefetch

    virtually(scene())


def test_an_error_that_nobody_asks_for_is_no_error() -> None:
    async def scene() -> None:
        reader = Reader(error=InvalidStepInputs("no candles"))

        async with reader.prefetched(invocation(await unleased(Documents()))):
            await asyncio.sleep(2)

        assert reader.said == ["begun 0"]

    virtually(scene())


def test_after_a_former_attempt_nothing_is_read_before_its_report_was_looked_for() -> None:
    async def scene() -> None:
        reader, job = Reader(), await held(Documents())

        async with reader.prefetched(invocation(job)) as prefetch:
            await asyncio.sleep(1)

        assert prefetch is None
        assert reader.said == []

    virtually(scene())
