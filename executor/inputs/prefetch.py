"""What a report is made from, read before the lease is certain: reading changes nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from executor.inputs.context import Context, ContextReader
from executor.inputs.step_inputs import InputReader, StepInputs
from executor.jobs.invocation import Invocation
from executor.ports import ObjectStore
from executor.settings import ExecutorSettings
from shared.log import LogEvent

_READ_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefetch:
    """All that a report is made from, checked."""

    inputs: StepInputs
    context: Context


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefetcher:
    """Reads all that a report is made from."""

    objects: ObjectStore
    inputs: InputReader
    settings: ExecutorSettings

    @asynccontextmanager
    async def prefetched(
        self, invocation: Invocation
    ) -> AsyncIterator[Awaitable[Prefetch] | None]:
        """Begin to read while the block takes the lease; leaving the block ends the reading.

        The block awaits the result, or the error, once it holds the lease. It gets None where
        reading may be needless: a former attempt may have stored the report, or the answer to
        a call in the background may not be there yet.
        """
        record = invocation.held.record
        if record.attempt > 0 or record.interaction is not None:
            yield None
            return
        reading = asyncio.create_task(self.read(invocation))
        try:
            yield reading
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def read(self, invocation: Invocation) -> Prefetch:
        """All that the step's report is made from.

        Raises:
            StepError: see `InputReader.read` and `ContextReader.read`.
            TimeBudgetExceeded: too little time is left to read.
        """
        inputs = await self.inputs.read(invocation)
        return Prefetch(inputs=inputs, context=await self._context(inputs, invocation))

    async def _context(self, inputs: StepInputs, invocation: Invocation) -> Context:
        reader = ContextReader(
            objects=self.objects,
            limits=self.settings.limits,
            buckets=self.settings.context_buckets,
            log=invocation.log,
        )
        invocation.log.debug(LogEvent.CONTEXT_RESOLVE_STARTED)
        context = await reader.read(
            inputs.sources, timeout_seconds=invocation.seconds_for(_READ_SECONDS)
        )
        invocation.log.info(LogEvent.CONTEXT_RESOLVE_FINISHED, objects=len(context.digests))
        return context
