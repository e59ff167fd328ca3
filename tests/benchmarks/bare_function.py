"""The executor's calls with no logic, as a function: the least that a push can cost.

It gets the environment of an executor, and a number as the body of each request.
"""

import asyncio

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import Response

from executor import wiring
from tests.benchmarks.bare import Bare

_PREPARING = asyncio.Lock()
_prepared: list[Bare] = []


@functions_framework.aio.http
async def bare(request: Request) -> Response:
    """Make the calls of one job."""
    number = int(await request.body())
    async with _PREPARING:
        if not _prepared:
            made = Bare(wiring.production_ports())
            await made.prepare()
            _prepared.append(made)
    await _prepared[0].once(number)
    return Response(status_code=204)
