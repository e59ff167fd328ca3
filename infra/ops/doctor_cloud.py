"""A project as the doctor finds it, over REST, read-only."""

from collections.abc import Iterator, Mapping
from typing import Any

from infra.local.local_functions import DEAD_LETTER_TOPIC, JOBS_TOPIC
from infra.local.pubsub_setup import DEAD_LETTER_SUBSCRIPTION, PUSH_SUBSCRIPTION
from infra.ops.doctor_facts import (
    EXPIRING,
    FUNCTIONS,
    SCHEDULER_JOB,
    SWEEP,
    Bucket,
    Cloud,
    Function,
    Grant,
    Observed,
    SecretVersion,
    Subscription,
    Trigger,
)
from infra.ops.doctor_rest import Rest
from infra.ops.lenient import at, integer_at, map_at, maps_at, text_at

_KEY = "GEMINI_API_KEY"
_INVOKER = "roles/run.invoker"


def observe_project(rest: Rest, project: str, database: str) -> Observed:
    """Everything that the rules look at, in some twenty requests."""
    functions = {function.name: function for function in _functions(rest, project)}
    buckets = {
        name: _bucket(rest, name)
        for function in functions.values()
        if (name := function.environ.get("ARTIFACTS_BUCKET"))
    }
    return Observed(
        project=project,
        cloud=_cloud(rest, project, database, functions),
        functions=functions,
        topics=frozenset(
            name for name in (JOBS_TOPIC, DEAD_LETTER_TOPIC) if _topic(rest, project, name)
        ),
        subscriptions={
            name: found
            for name in (PUSH_SUBSCRIPTION, DEAD_LETTER_SUBSCRIPTION)
            if (found := subscription(rest, project, name))
        },
        buckets=buckets,
        unreadable=rest.unreadable,
    )


def subscription(rest: Rest, project: str, name: str) -> Subscription | None:
    """A subscription, from Pub/Sub or from its emulator."""
    found = rest.get(name, "pubsub", f"v1/projects/{project}/subscriptions/{name}")
    if found is None:
        return None
    dead_letter_topic = text_at(found, "deadLetterPolicy", "deadLetterTopic")
    return Subscription(
        topic=_short(text_at(found, "topic")),
        push_url=text_at(found, "pushConfig", "pushEndpoint") or "",
        push_account=text_at(found, "pushConfig", "oidcToken", "serviceAccountEmail"),
        ack_deadline_seconds=integer_at(found, "ackDeadlineSeconds") or 0,
        dead_letter_topic=_short(dead_letter_topic) if dead_letter_topic else None,
        max_deliveries=integer_at(found, "deadLetterPolicy", "maxDeliveryAttempts"),
        active=text_at(found, "state") in (None, "ACTIVE"),
    )


def _topic(rest: Rest, project: str, name: str) -> bool:
    return rest.get(name, "pubsub", f"v1/projects/{project}/topics/{name}") is not None


def _functions(rest: Rest, project: str) -> Iterator[Function]:
    path = f"v2/projects/{project}/locations/-/functions"
    for found in rest.list("functions", "cloudfunctions", path, "functions"):
        name = _short(text_at(found, "name"))
        if name in FUNCTIONS:
            yield _function(rest, project, name, found)


def _function(rest: Rest, project: str, name: str, found: Mapping[str, Any]) -> Function:
    config = map_at(found, "serviceConfig")
    region = (text_at(found, "name") or "").split("/")[3]
    state = text_at(found, "state")
    return Function(
        name=name,
        region=region,
        url=text_at(config, "uri") or "",
        trouble="" if state == "ACTIVE" else f"its state is {state}",
        timeout_seconds=integer_at(config, "timeoutSeconds") or 0,
        environ={
            key: str(value) for key, value in map_at(config, "environmentVariables").items()
        },
        key=_key(rest, project, config),
        invokers=_invokers(rest, project, region, name),
        trigger=_trigger(found),
    )


def _trigger(found: Mapping[str, Any]) -> Trigger | None:
    trigger = map_at(found, "eventTrigger")
    if not trigger:
        return None
    return Trigger(
        region=text_at(trigger, "triggerRegion") or "",
        event_type=text_at(trigger, "eventType") or "",
        filters={
            str(item.get("attribute")): str(item.get("value"))
            for item in maps_at(trigger, "eventFilters")
        },
        retried=text_at(trigger, "retryPolicy") == "RETRY_POLICY_RETRY",
    )


def _key(rest: Rest, project: str, config: Mapping[str, Any]) -> SecretVersion | None:
    for item in maps_at(config, "secretEnvironmentVariables"):
        if text_at(item, "key") == _KEY:
            secret, version = str(item.get("secret")), str(item.get("version"))
            path = f"v1/projects/{project}/secrets/{secret}/versions/{version}"
            # The version's state: `:access` would be its value.
            found = rest.get(secret, "secretmanager", path)
            return SecretVersion(secret=secret, version=version, state=text_at(found, "state"))
    return None


def _invokers(rest: Rest, project: str, region: str, name: str) -> frozenset[str] | None:
    path = f"v2/projects/{project}/locations/{region}/services/{name}:getIamPolicy"
    policy = rest.get(name, "run", path)
    if policy is None:
        return None
    return frozenset(grant.member for grant in _grants(policy, name) if grant.role == _INVOKER)


def _grants(policy: Mapping[str, Any] | None, on: str) -> Iterator[Grant]:
    for binding in maps_at(policy, "bindings"):
        for member in at(binding, "members") or ():
            yield Grant(on=on, role=text_at(binding, "role") or "", member=str(member))


def _bucket(rest: Rest, name: str) -> Bucket | None:
    found = rest.get(f"gs://{name}", "storage", f"storage/v1/b/{name}")
    if found is None:
        return None
    access = map_at(found, "iamConfiguration")
    return Bucket(
        location=text_at(found, "location") or "",
        uniform_access=at(access, "uniformBucketLevelAccess", "enabled") is True,
        public_access_prevented=text_at(access, "publicAccessPrevention") == "enforced",
        versioned=at(found, "versioning", "enabled") is True,
    )


def _cloud(rest: Rest, project: str, database: str, functions: Mapping[str, Function]) -> Cloud:
    path = f"v1/projects/{project}/databases/{database}"
    services = list(
        rest.list(
            "services",
            "serviceusage",
            f"v1/projects/{project}/services",
            "services",
            filter="state:ENABLED",
            pageSize="200",
        )
    )
    return Cloud(
        number=_number(services[0]) if services else "",
        services=frozenset(_short(text_at(service, "name")) for service in services),
        database_location=text_at(rest.get("Firestore", "firestore", path), "locationId"),
        expiring=frozenset(name for name in EXPIRING if _expires(rest, path, name)),
        grants=frozenset(_delivery_grants(rest, project)),
        sweep_scheduled=_scheduled(rest, project, functions.get(SWEEP)),
    )


def _expires(rest: Rest, database: str, collection: str) -> bool:
    path = f"{database}/collectionGroups/{collection}/fields/expireAt"
    found = rest.get(collection, "firestore", path)
    return text_at(found, "ttlConfig", "state") in ("CREATING", "ACTIVE")


def _delivery_grants(rest: Rest, project: str) -> Iterator[Grant]:
    for kind, name in (("topics", DEAD_LETTER_TOPIC), ("subscriptions", PUSH_SUBSCRIPTION)):
        path = f"v1/projects/{project}/{kind}/{name}:getIamPolicy"
        yield from _grants(rest.get(name, "pubsub", path), name)


def _scheduled(rest: Rest, project: str, sweep: Function | None) -> bool | None:
    if sweep is None:
        return None
    path = f"v1/projects/{project}/locations/{sweep.region}/jobs/{SCHEDULER_JOB}"
    found = rest.get(SCHEDULER_JOB, "cloudscheduler", path)
    return None if found is None else text_at(found, "state") == "ENABLED"


def _short(name: str | None) -> str:
    return (name or "").rpartition("/")[2]


def _number(service: Mapping[str, Any]) -> str:
    # projects/NUMBER/services/NAME
    return (text_at(service, "name") or "/").split("/")[1]
