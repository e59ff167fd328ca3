"""The deployed functions: `dispatch`, triggered by writes to flow runs, and `sweep`."""

import json
from http import HTTPStatus

import functions_framework.aio
from cloudevents.http import CloudEvent
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from dispatcher import wiring

# Bad settings stop the instance at start-up, before it takes an event.
wiring.settings()


@functions_framework.aio.cloud_event
async def dispatch(event: CloudEvent) -> None:
    """Handle one event; an exception makes Eventarc deliver it again."""
    attributes = {name: str(value) for name, value in event.get_attributes().items()}
    # What came as JSON was parsed already: it is no event, and the decoder says so.
    data = event.data if isinstance(event.data, bytes) else json.dumps(event.data).encode()
    await wiring.event_handler()(attributes, data)


@functions_framework.aio.http
async def sweep(_request: Request) -> Response:
    """Sweep once; 200 when all was looked at, 503 when something was left for the next one."""
    report = await wiring.sweeper()()
    status = HTTPStatus.OK if report.finished else HTTPStatus.SERVICE_UNAVAILABLE
    return JSONResponse(report.as_json(), status_code=status)
