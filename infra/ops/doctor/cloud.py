"""A project as the doctor finds it, over REST, read-only."""

from collections.abc import Iterator, Mapping
from typing import Any

from infra.local.emulators.pubsub import DEAD_LETTER_SUBSCRIPTION, PUSH_SUBSCRIPTION
from infra.local.processes.functions import DEAD_LETTER_TOPIC, JOBS_TOPIC
from infra.ops.doctor import calls
from infra.ops.doctor.facts import (
    DUE_JOBS_INDEX,
    EXPIRING,
    FUNCTIONS,
    NOTIFY,
    PROJECT_GRANTS,
    PUSH_ACCOUNT,
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
from infra.ops.doctor.rest import Rest
from infra.ops.environment.listing import WAKE_AT
from infra.ops.environment.stored_documents import at, integer_at, map_at, maps_at, text_at
from shared.domain.job_documents import COLLECTION as JOBS
from shared.domain.job_documents import SHARD

_KEY = "GEMINI_API_KEY"
_HOOK_SECRET = "WEBHOOK_SECRET"  # noqa: S105 - the name of a variable
_INVOKER = "roles/run.invoker"


def observe_project(rest: Rest, project: str, database: str) -> Observed:
    """Everything that the rules look at, in some thirty requests."""
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
    found = rest.get(name, calls.SUBSCRIPTION, f"v1/projects/{project}/subscriptions/{name}")
    if found is None:
        return None
    dead_letter_topic = text_at(found, "deadLetterPolicy", "deadLetterTopic")
    return Subscription(
        topic=_short(text_at(found, "topic")),
        push_url=text_at(found, "pushConfig", "pushEndpoint") or "",
        push_account=text_at(found, "pushConfig", "oidcToken", "serviceAccountEmail"),
        push_audience=text_at(found, "pushConfig", "oidcToken", "audience"),
        ack_deadline_seconds=integer_at(found, "ackDeadlineSeconds") or 0,
        dead_letter_topic=_short(dead_letter_topic) if dead_letter_topic else None,
        max_deliveries=integer_at(found, "deadLetterPolicy", "maxDeliveryAttempts"),
        active=text_at(found, "state") in (None, "ACTIVE"),
    )


def _topic(rest: Rest, project: str, name: str) -> bool:
    return rest.get(name, calls.TOPIC, f"v1/projects/{project}/topics/{name}") is not None


def _functions(rest: Rest, project: str) -> Iterator[Function]:
    path = f"v2/projects/{project}/locations/-/functions"
    for found in rest.list("functions", calls.FUNCTIONS, path, "functions"):
        name = _short(text_at(found, "name"))
        if name in {*FUNCTIONS, NOTIFY}:
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
        key=_key(rest, project, config, _HOOK_SECRET if name == NOTIFY else _KEY),
        hook_secret=None if name == NOTIFY else _key(rest, project, config, _HOOK_SECRET),
        invokers=_invokers(rest, project, region, name),
        trigger=_trigger(rest, found),
    )


def _trigger(rest: Rest, found: Mapping[str, Any]) -> Trigger | None:
    trigger = map_at(found, "eventTrigger")
    if not trigger:
        return None
    name = text_at(trigger, "trigger")
    known = rest.get("trigger", calls.TRIGGER, f"v1/{name}") if name else None
    return Trigger(
        region=text_at(trigger, "triggerRegion") or "",
        event_type=text_at(trigger, "eventType") or "",
        filters={
            str(item.get("attribute")): str(item.get("value"))
            for item in maps_at(trigger, "eventFilters")
        },
        retried=text_at(trigger, "retryPolicy") == "RETRY_POLICY_RETRY",
        account=text_at(known, "serviceAccount")
        or text_at(trigger, "serviceAccountEmail")
        or "",
        state=_trigger_state(known),
    )


def _trigger_state(known: Mapping[str, Any] | None) -> str | None:
    """What Eventarc says is wrong with the trigger; empty where nothing is."""
    if known is None:
        return None
    said = [
        text_at(condition, "message") or str(name)
        for name, condition in map_at(known, "conditions").items()
        if text_at(condition, "code") not in (None, "OK")
    ]
    return "; ".join(said)


def _key(
    rest: Rest, project: str, config: Mapping[str, Any], variable: str
) -> SecretVersion | None:
    for item in maps_at(config, "secretEnvironmentVariables"):
        if text_at(item, "key") == variable:
            secret, version = str(item.get("secret")), str(item.get("version"))
            path = f"v1/projects/{project}/secrets/{secret}/versions/{version}"
            # The version's state: `:access` would be its value.
            found = rest.get(secret, calls.SECRET_VERSION, path)
            return SecretVersion(secret=secret, version=version, state=text_at(found, "state"))
    return None


def _invokers(rest: Rest, project: str, region: str, name: str) -> frozenset[str] | None:
    path = f"v2/projects/{project}/locations/{region}/services/{name}:getIamPolicy"
    policy = rest.policy(name, calls.INVOKERS, path)
    if policy is None:
        return None
    return frozenset(grant.member for grant in _grants(policy, name) if grant.role == _INVOKER)


def _grants(policy: Mapping[str, Any] | None, on: str) -> Iterator[Grant]:
    for binding in maps_at(policy, "bindings"):
        for member in at(binding, "members") or ():
            yield Grant(on=on, role=text_at(binding, "role") or "", member=str(member))


def _bucket(rest: Rest, name: str) -> Bucket | None:
    found = rest.get(f"gs://{name}", calls.BUCKET, f"storage/v1/b/{name}")
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
            calls.SERVICES,
            f"v1/projects/{project}/services",
            "services",
            filter="state:ENABLED",
            pageSize="200",
        )
    )
    database_found = rest.get("Firestore", calls.DATABASE, path)
    return Cloud(
        number=_number(services[0]) if services else "",
        services=frozenset(_short(text_at(service, "name")) for service in services),
        database_location=text_at(database_found, "locationId"),
        database_type=text_at(database_found, "type"),
        expiring=frozenset(name for name in EXPIRING if _expires(rest, path, name)),
        due_jobs_indexed=_due_jobs_indexed(rest, path),
        grants=frozenset(_all_grants(rest, project, functions)),
        sweep_scheduled=_scheduled(rest, project, functions.get(SWEEP)),
    )


def _expires(rest: Rest, database: str, collection: str) -> bool:
    path = f"{database}/collectionGroups/{collection}/fields/expireAt"
    found = rest.get(collection, calls.FIELD, path)
    return text_at(found, "ttlConfig", "state") in ("CREATING", "ACTIVE")


def _due_jobs_indexed(rest: Rest, database: str) -> bool:
    path = f"{database}/collectionGroups/{JOBS}/indexes"
    found = rest.list(DUE_JOBS_INDEX, calls.INDEXES, path, "indexes")
    return any(
        text_at(index, "state") == "READY"
        and [
            text_at(field, "fieldPath")
            for field in maps_at(index, "fields")
            if text_at(field, "fieldPath") != "__name__"
        ]
        == [SHARD, WAKE_AT]
        for index in found
    )


def _all_grants(rest: Rest, project: str, functions: Mapping[str, Function]) -> Iterator[Grant]:
    root, push = f"v1/projects/{project}", f"{PUSH_ACCOUNT}@{project}.iam.gserviceaccount.com"
    asked = [
        (PROJECT_GRANTS, calls.PROJECT_POLICY, f"v3/projects/{project}:getIamPolicy"),
        (PUSH_ACCOUNT, calls.ACCOUNT_POLICY, f"{root}/serviceAccounts/{push}:getIamPolicy"),
        (
            PUSH_SUBSCRIPTION,
            calls.SUBSCRIPTION_POLICY,
            f"{root}/subscriptions/{PUSH_SUBSCRIPTION}:getIamPolicy",
        ),
        *(
            (topic, calls.TOPIC_POLICY, f"{root}/topics/{topic}:getIamPolicy")
            for topic in (JOBS_TOPIC, DEAD_LETTER_TOPIC)
        ),
    ]
    for function in functions.values():
        if bucket := function.environ.get("ARTIFACTS_BUCKET"):
            path = f"storage/v1/b/{bucket}/iam"
            asked.append((f"gs://{bucket}", calls.BUCKET_POLICY, path))
        for version in filter(None, (function.key, function.hook_secret)):
            path = f"{root}/secrets/{version.secret}:getIamPolicy"
            asked.append((version.secret, calls.SECRET_POLICY, path))
    for on, call, path in dict.fromkeys(asked):
        yield from _grants(rest.policy(on, call, path), on)


def _scheduled(rest: Rest, project: str, sweep: Function | None) -> bool | None:
    if sweep is None:
        return None
    for region in _schedule_regions(rest, project, sweep.region):
        path = f"v1/projects/{project}/locations/{region}/jobs/{SCHEDULER_JOB}"
        found = rest.get(SCHEDULER_JOB, calls.SCHEDULE, path)
        if found is not None:
            return text_at(found, "state") == "ENABLED"
    return None


def _schedule_regions(rest: Rest, project: str, region: str) -> Iterator[str]:
    """Where the schedule may be. Cloud Scheduler is not in every region that has functions."""
    yield region
    path = f"v1/projects/{project}/locations"
    for place in rest.list(SCHEDULER_JOB, calls.SCHEDULE_PLACES, path, "locations"):
        other = text_at(place, "locationId")
        if other and other != region:
            yield other


def _short(name: str | None) -> str:
    return (name or "").rpartition("/")[2]


def _number(service: Mapping[str, Any]) -> str:
    # projects/NUMBER/services/NAME
    return (text_at(service, "name") or "/").split("/")[1]
