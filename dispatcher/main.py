"""The deployed functions.

`dispatch` is triggered by writes to flow runs, `sweep` by a clock, and `notify` by the model's
provider, or by anybody: it is public.
"""

from http import HTTPStatus

import functions_framework.aio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from dispatcher import wiring
from shared.domain.errors import WorkerError
from shared.entry import NotAnEvent, answered, cloud_event_attributes
from shared.log import LogEvent
from shared.ports import PortFailure

# Bad settings stop the instance at start-up, before it takes an event.
wiring.settings()


# An HTTP function: what the framework says of a request that is no event repeats it.
@functions_framework.aio.http
async def dispatch(request: Request) -> Response:
    """Handle one event; any status but 2xx makes Eventarc deliver it again."""
    return await answered(
        lambda: _dispatched(request), wiring.log(), LogEvent.CLOUD_EVENT_FINISHED
    )


async def _dispatched(request: Request) -> Response:
    data = await request.body()
    try:
        attributes = cloud_event_attributes(request)
    except NotAnEvent as problem:
        wiring.log().error(
            LogEvent.CLOUD_EVENT_IGNORED, f"no CloudEvent: {problem}", reason="not_an_event"
        )
        return Response(status_code=HTTPStatus.BAD_REQUEST)
    try:
        await wiring.event_handler()(attributes, data)
    except (PortFailure, WorkerError):
        # Told by the handler.
        return Response(status_code=HTTPStatus.SERVICE_UNAVAILABLE)
    return Response("OK")


@functions_framework.aio.http
async def sweep(_request: Request) -> Response:
    """Sweep once; 200 when all was looked at, 503 when something was left for the next one."""
    return await answered(_swept, wiring.log(), LogEvent.SWEEP_FAILED)


async def _swept() -> Response:
    report = await wiring.sweeper()()
    status = HTTPStatus.OK if report.finished else HTTPStatus.SERVICE_UNAVAILABLE
    return JSONResponse(report.as_json(), status_code=status)


@functions_framework.aio.http
async def notify(request: Request) -> Response:
    """Answer a hook; any status but 2xx has the provider send it again."""
    return await answered(lambda: _notified(request), wiring.log(), LogEvent.HOOK_REJECTED)


async def _notified(request: Request) -> Response:
    path = str(request.scope["path"])
    status = await wiring.notifier().handle(
        request.method, path, request.headers, request.stream()
    )
    return Response(status_code=status)
