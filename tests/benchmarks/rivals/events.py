"""Events that a relay was given, to be given to it again."""

from collections.abc import Sequence

from infra.local.cloud.cloud_events import CloudEventMessage
from infra.local.emulators.relay import Relay


def recorded(relay: Relay) -> Sequence[CloudEventMessage]:
    """All events that the relay takes from now on, in a list that grows."""
    seen: list[CloudEventMessage] = []
    submit = relay.submit

    def noted(message: CloudEventMessage) -> bool:
        seen.append(message)
        return submit(message)

    relay.submit = noted  # type: ignore[method-assign]
    return seen
