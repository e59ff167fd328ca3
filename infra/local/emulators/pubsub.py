"""Topics and subscriptions of the local environment, as Terraform makes them in the cloud."""

from typing import Any

import httpx2

from infra.failures import CannotBeDone
from infra.local.processes.functions import DEAD_LETTER_TOPIC, JOBS_TOPIC

PUSH_SUBSCRIPTION = "llm-jobs-push"
DEAD_LETTER_SUBSCRIPTION = "llm-jobs-dead-letter-pull"
#: The longest that Pub/Sub allows; it is the push request's own timeout too.
ACK_DEADLINE_SECONDS = 600
MAX_DELIVERY_ATTEMPTS = 10
_CALL_SECONDS = 10.0


class PubSubRefused(CannotBeDone):
    """The emulator did not make a topic or a subscription."""


async def create_topics(
    pubsub_host: str,
    project: str,
    *,
    push_url: str,
    ack_deadline_seconds: int = ACK_DEADLINE_SECONDS,
) -> None:
    """Make both topics, the push subscription to `push_url`, and the dead letters' own.

    Raises:
        PubSubRefused: The emulator could not be reached or answered otherwise than 2xx.
    """
    root = f"projects/{project}"
    jobs, dead = f"{root}/topics/{JOBS_TOPIC}", f"{root}/topics/{DEAD_LETTER_TOPIC}"
    resources: dict[str, dict[str, Any]] = {
        jobs: {},
        dead: {},
        f"{root}/subscriptions/{PUSH_SUBSCRIPTION}": {
            "topic": jobs,
            "ackDeadlineSeconds": ack_deadline_seconds,
            "pushConfig": {"pushEndpoint": push_url},
            "retryPolicy": {"minimumBackoff": "1s", "maximumBackoff": "60s"},
            "deadLetterPolicy": {
                "deadLetterTopic": dead,
                "maxDeliveryAttempts": MAX_DELIVERY_ATTEMPTS,
            },
        },
        f"{root}/subscriptions/{DEAD_LETTER_SUBSCRIPTION}": {"topic": dead},
    }
    try:
        async with httpx2.AsyncClient(trust_env=False, timeout=_CALL_SECONDS) as client:
            for name, resource in resources.items():
                answer = await client.put(f"http://{pubsub_host}/v1/{name}", json=resource)
                answer.raise_for_status()
    except httpx2.HTTPError as error:
        raise PubSubRefused(f"no topics from the Pub/Sub emulator: {error!r}") from error
