"""What a report is made from: read before the lease is certain, as reading changes nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from executor.context import Context, ContextReader
from executor.inputs import InputReader, StepInputs
from executor.invocation import Invocation
from executor.ports import ObjectStore
from executor.settings import ExecutorSettings
from shared.events import Event

_READ_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a report is made from, checked."""

    inputs: StepInputs
    context: Context


@dataclass(frozen=True, slots=True, kw_only=True)
class MaterialReader:
    """Reads material."""

    objects: ObjectStore
    inputs: InputReader
    settings: ExecutorSettings

    @asynccontextmanager
    async def ahead(self, work: Invocation) -> AsyncIterator[Awaitable[Material] | None]:
        """Read while the block takes the lease and works; leaving the block ends it.

        What comes of it, an error too, is for whoever awaits it under the lease. None after
        a former attempt: the report that it may have stored makes reading needless.
        """
        if work.held.record.attempt > 0:
            yield None
            return
        reading = asyncio.create_task(self.read(work))
        try:
            yield reading
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def read(self, work: Invocation) -> Material:
        """The step's material.

        Raises:
            StepError: see `InputReader.read` and `ContextReader.read`.
            TimeBudgetExceeded: too little time is left to read.
        """
        inputs = await self.inputs.read(work)
        return Material(inputs=inputs, context=await self._context(inputs, work))

    async def _context(self, inputs: StepInputs, work: Invocation) -> Context:
        reader = ContextReader(
            objects=self.objects,
            limits=self.settings.limits,
            buckets=self.settings.context_buckets,
            log=work.log,
        )
        work.log.debug(Event.CONTEXT_RESOLVE_STARTED)
        context = await reader.read(
            inputs.sources, timeout_seconds=work.seconds_for(_READ_SECONDS)
        )
        work.log.info(Event.CONTEXT_RESOLVE_FINISHED, objects=len(context.digests))
        return context
