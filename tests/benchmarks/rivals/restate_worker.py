"""The job as a handler of a Restate service.

Each part is a durable step (`ctx.run_typed`), whose result is journaled by the server and not
computed again (https://docs.restate.dev/develop/python/durable-steps). A delivery carries the
step's id as its idempotency key, so that a later one attaches to the former's invocation
(https://docs.restate.dev/services/invocation/http). The server tries an invocation again when
its service dies.
"""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import restate
from hypercorn.asyncio import serve
from hypercorn.config import Config

from tests.benchmarks.rivals import job

#: A model may think for longer than the minute after which an invocation is tried again.
_PATIENCE = timedelta(minutes=10)
_CALLS_AT_ONCE = 32
reports = restate.Service("Reports", inactivity_timeout=_PATIENCE, abort_timeout=_PATIENCE)


async def _read_inputs() -> dict[str, Any]:
    return await asyncio.to_thread(job.read_inputs)


async def _ask_model(inputs: dict[str, Any]) -> str:
    return await asyncio.to_thread(job.ask_model, inputs)


async def _store_report(step_id: str, output: dict[str, Any]) -> str:
    return await asyncio.to_thread(job.store_report, step_id, output)


@reports.handler()
async def report(ctx: restate.Context, step_id: str) -> str:
    """Do one step's job; the recorded result is the report's URI."""
    inputs = await ctx.run_typed("read inputs", _read_inputs)
    text = await ctx.run_typed("ask model", _ask_model, inputs=inputs)
    output = job.checked(text, inputs["schema"])
    uri: str = await ctx.run_typed(
        "store report", _store_report, step_id=step_id, output=output
    )
    return uri


async def main() -> None:
    """Serve until the process ends."""
    threads = ThreadPoolExecutor(_CALLS_AT_ONCE)
    asyncio.get_running_loop().set_default_executor(threads)
    config = Config()
    config.bind = [f"127.0.0.1:{os.environ['PORT']}"]
    await serve(restate.app([reports]), config)  # type: ignore[arg-type,unused-ignore]


if __name__ == "__main__":
    asyncio.run(main())
