"""The deployed function: `execute`, called by the push subscription of the jobs topic."""

import gc

# What is loaded here stays for good. To look through it for garbage makes every start slower,
# and leaves each of the framework's two processes with a copy of it: see
# docs/benchmarks-history.md.
gc.disable()

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from executor import wiring
from shared.entry import answered
from shared.log import LogEvent

# Bad settings stop the instance at start-up, before it takes a job.
wiring.settings()
gc.freeze()
gc.enable()


@functions_framework.aio.http
async def execute(request: Request) -> Response:
    """Handle one push; the status acknowledges the message or asks for it again."""
    return await answered(lambda: _executed(request), wiring.log(), LogEvent.JOB_DEFERRED)


async def _executed(request: Request) -> Response:
    body = await request.body()
    return Response(status_code=await wiring.push_handler()(body))
