"""The deployed function: `dispatch`, triggered by writes to flow runs."""

import functions_framework.aio
from cloudevents.http import CloudEvent

from dispatcher import wiring

# Bad settings stop the instance at start-up, before it takes an event.
wiring.settings()


@functions_framework.aio.cloud_event
async def dispatch(event: CloudEvent) -> None:
    """Handle one event; an exception makes Eventarc deliver it again."""
    attributes = {name: str(value) for name, value in event.get_attributes().items()}
    await wiring.dispatcher().handle(attributes, event.data or b"")
