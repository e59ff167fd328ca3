"""Faults that a project may have, and what the doctor must say of each."""

from collections.abc import Callable
from functools import partial
from typing import Any

from tests.support.google_project import PROJECT, REGION, TRIGGER, account, function, policy

_ROOT = f"pubsub/v1/projects/{PROJECT}"
PUSH = f"{_ROOT}/subscriptions/llm-jobs-push"
PULL = f"{_ROOT}/subscriptions/llm-jobs-dead-letter-pull"
FUNCTIONS = f"cloudfunctions/v2/projects/{PROJECT}/locations/-/functions"
BUCKET = f"storage/storage/v1/b/{PROJECT}-llm-artifacts"
DATABASE = f"firestore/v1/projects/{PROJECT}/databases/(default)"
SERVICES = f"serviceusage/v1/projects/{PROJECT}/services"
INVOKERS = f"run/v2/projects/{PROJECT}/locations/{REGION}/services/llm-executor:getIamPolicy"
NOTIFY_URL = "https://llm-notify-abc-ez.a.run.app"
NOTIFY_INVOKERS = (
    f"run/v2/projects/{PROJECT}/locations/{REGION}/services/llm-notify:getIamPolicy"
)
NOTIFY_SECRET = f"secretmanager/v1/projects/{PROJECT}/secrets/webhook-secret/versions/1"
SECRET = f"secretmanager/v1/projects/{PROJECT}/secrets/gemini-api-key/versions/3"
SCHEDULE = f"cloudscheduler/v1/projects/{PROJECT}/locations/{REGION}/jobs/llm-sweep"
ROLES = f"projects/{PROJECT}/roles"
GRANTS = f"cloudresourcemanager/v3/projects/{PROJECT}:getIamPolicy"
JOBS_POLICY = f"{_ROOT}/topics/llm-jobs:getIamPolicy"
DEAD_POLICY = f"{_ROOT}/topics/llm-jobs-dead-letter:getIamPolicy"
HOOK_SECRET_POLICY = f"secretmanager/v1/projects/{PROJECT}/secrets/webhook-secret:getIamPolicy"
SECRET_POLICY = f"secretmanager/v1/projects/{PROJECT}/secrets/gemini-api-key:getIamPolicy"
PUSH_ACCOUNT_POLICY = (
    f"iam/v1/projects/{PROJECT}/serviceAccounts/"
    f"llm-push@{PROJECT}.iam.gserviceaccount.com:getIamPolicy"
)
Project = dict[str, Any]


def executor_of(project: Project) -> dict[str, Any]:
    config: dict[str, Any] = project[FUNCTIONS]["functions"][1]["serviceConfig"]
    return config


def set_environ(project: Project, **environ: str) -> None:
    config = executor_of(project)
    config["environmentVariables"] = config["environmentVariables"] | environ


def trigger_of(project: Project) -> dict[str, Any]:
    trigger: dict[str, Any] = project[FUNCTIONS]["functions"][0]["eventTrigger"]
    return trigger


def disable(name: str, project: Project) -> None:
    services = project[SERVICES]["services"]
    services[:] = [
        one for one in services if not one["name"].endswith(f"/{name}.googleapis.com")
    ]


def announce(
    project: Project,
    *,
    url: str = NOTIFY_URL,
    callers: tuple[str, ...] = ("allUsers",),
    state: str = "ENABLED",
    publishes: bool = True,
    readers: tuple[str, ...] = ("llm-executor", "llm-notify"),
    signs_with: str = "1",
) -> None:
    """Have calls announced to a function as Terraform makes it, but for the arguments."""
    secret = {"key": "WEBHOOK_SECRET", "secret": "webhook-secret", "version": "1"}
    project[FUNCTIONS]["functions"].append(
        function("llm-notify", secretEnvironmentVariables=[secret])
    )
    set_environ(project, WEBHOOK_URL=url)
    executor_of(project).setdefault("secretEnvironmentVariables", []).append(
        {**secret, "version": signs_with}
    )
    project[HOOK_SECRET_POLICY] = policy(
        "roles/secretmanager.secretAccessor", *(account(name) for name in readers)
    )
    project[NOTIFY_SECRET.rpartition("/")[0] + f"/{signs_with}"] = {"state": "ENABLED"}
    project[NOTIFY_INVOKERS] = policy("roles/run.invoker", *callers)
    project[NOTIFY_SECRET] = {"name": "1", "state": state}
    if publishes:
        project[JOBS_POLICY]["bindings"][0]["members"].append(account("llm-notify"))


def announce_to_nobody(project: Project) -> None:
    """Have calls announced to a function that is not there."""
    announce(project)
    project[FUNCTIONS]["functions"].pop()


def announce_unsigned(project: Project) -> None:
    """Have calls announced to a function, without a secret that signs the addresses."""
    announce(project)
    executor_of(project)["secretEnvironmentVariables"].pop()


def announce_only(project: Project) -> None:
    """Have calls announced to a function that has no right to publish."""
    announce(project, publishes=False)


def take(on: str, role: str, account_id: str, project: Project) -> None:
    """Take a role away from an account, and from no other account."""
    for binding in project[on]["bindings"]:
        if binding["role"] == role:
            binding["members"].remove(account(account_id))


#: What is done to the project, whom it concerns, and what the doctor says about it.
FAULTS: dict[str, tuple[Callable[[Project], object], str, str]] = {
    "an API is disabled": (
        lambda p: p[SERVICES]["services"].pop(),
        "storage.googleapis.com",
        "not enabled",
    ),
    "a function is missing": (
        lambda p: p[FUNCTIONS]["functions"].pop(2),
        "llm-sweep",
        "no such function",
    ),
    "a function did not deploy": (
        lambda p: p[FUNCTIONS]["functions"][1].update(state="FAILED"),
        "llm-executor",
        "its state is FAILED",
    ),
    "calls are announced to nobody": (
        announce_to_nobody,
        "llm-notify",
        "no such function",
    ),
    "calls are announced, and nothing signs their addresses": (
        announce_unsigned,
        "settings",
        "WEBHOOK_SECRET is required with WEBHOOK_URL",
    ),
    "calls are announced elsewhere": (
        lambda p: announce(p, url="https://elsewhere.example"),
        "llm-notify",
        "it answers at",
    ),
    "the provider may not call notify": (
        lambda p: announce(p, callers=()),
        "llm-notify",
        "the provider may not call it",
    ),
    "the secret of hooks is disabled": (
        lambda p: announce(p, state="DISABLED"),
        "llm-notify",
        "is DISABLED",
    ),
    "notify may not read the secret of hooks": (
        lambda p: announce(p, readers=("llm-executor",)),
        "webhook-secret",
        "llm-notify may not read it",
    ),
    "the executor may not read the secret of hooks": (
        lambda p: announce(p, readers=("llm-notify",)),
        "webhook-secret",
        "llm-executor may not read it",
    ),
    "hooks are signed with another version than they are checked with": (
        lambda p: announce(p, signs_with="2"),
        "llm-notify",
        "the executor signs with version 2",
    ),
    "notify may not publish": (
        announce_only,
        "llm-jobs",
        "llm-notify may not publish to it",
    ),
    "anyone may call the executor": (
        lambda p: p[INVOKERS]["bindings"][0]["members"].append("allUsers"),
        "llm-executor",
        "allUsers may call it too",
    ),
    "the push account may not call the executor": (
        lambda p: p.update({INVOKERS: policy("roles/run.invoker")}),
        "llm-executor",
        "may not call it",
    ),
    "the trigger is in another region": (
        lambda p: trigger_of(p).update(triggerRegion="us-central1"),
        "trigger",
        "it will never fire",
    ),
    "the trigger watches another collection": (
        lambda p: trigger_of(p)["eventFilters"].pop(),
        "trigger",
        "it watches None",
    ),
    "the trigger fires for new documents alone": (
        lambda p: trigger_of(p).update(eventType="google.cloud.firestore.document.v1.created"),
        "trigger",
        "it fires for",
    ),
    "the trigger is not retried": (
        lambda p: trigger_of(p).update(retryPolicy="RETRY_POLICY_DO_NOT_RETRY"),
        "trigger",
        "retrying is off",
    ),
    "the dispatcher has no trigger": (
        lambda p: p[FUNCTIONS]["functions"][0].pop("eventTrigger"),
        "llm-dispatcher",
        "no trigger",
    ),
    "job records never expire": (
        lambda p: p.pop(f"{DATABASE}/collectionGroups/llm_jobs/fields/expireAt"),
        "llm_jobs",
        "TTL",
    ),
    "the index of due jobs is missing": (
        lambda p: p.pop(f"{DATABASE}/collectionGroups/llm_jobs/indexes"),
        "the index of llm_jobs",
        "not there",
    ),
    "the index of due jobs is being built": (
        lambda p: p[f"{DATABASE}/collectionGroups/llm_jobs/indexes"]["indexes"][0].update(
            state="CREATING"
        ),
        "the index of llm_jobs",
        "not ready",
    ),
    "accounts of spending never expire": (
        lambda p: p.pop(f"{DATABASE}/collectionGroups/llm_spend/fields/expireAt"),
        "llm_spend",
        "TTL",
    ),
    "a topic is missing": (
        lambda p: p.pop(f"{_ROOT}/topics/llm-jobs"),
        "llm-jobs",
        "no such topic",
    ),
    "the push subscription is missing": (
        lambda p: p.pop(PUSH),
        "llm-jobs-push",
        "no such subscription",
    ),
    "the dead-letter subscription is missing": (
        lambda p: p.pop(PULL),
        "llm-jobs-dead-letter-pull",
        "no such subscription",
    ),
    "the dead-letter subscription pushes": (
        lambda p: p[PULL].update(pushConfig={"pushEndpoint": "https://x"}),
        "llm-jobs-dead-letter-pull",
        "it pushes",
    ),
    "pushing is paused": (
        lambda p: p[PUSH].update(pushConfig={}),
        "llm-jobs-push",
        "paused",
    ),
    "it pushes elsewhere": (
        lambda p: p[PUSH]["pushConfig"].update(pushEndpoint="https://elsewhere"),
        "llm-jobs-push",
        "https://elsewhere",
    ),
    "it pushes without a token": (
        lambda p: p[PUSH]["pushConfig"].pop("oidcToken"),
        "llm-jobs-push",
        "without a token",
    ),
    "the acknowledgement deadline is short": (
        lambda p: p[PUSH].update(ackDeadlineSeconds=570),
        "llm-jobs-push",
        "comes again after 570 s",
    ),
    "there is no dead-letter policy": (
        lambda p: p[PUSH].pop("deadLetterPolicy"),
        "llm-jobs-push",
        "no dead-letter policy",
    ),
    "messages are given up within the attempt budget": (
        lambda p: p[PUSH]["deadLetterPolicy"].update(maxDeliveryAttempts=5),
        "llm-jobs-push",
        "within the budget of 5",
    ),
    "Pub/Sub says that pushing fails": (
        lambda p: p[PUSH].update(state="RESOURCE_ERROR"),
        "llm-jobs-push",
        "does not work",
    ),
    "Pub/Sub may not forward": (
        lambda p: p.update(
            {DEAD_POLICY: policy("roles/pubsub.publisher", account("llm-executor"))}
        ),
        "llm-jobs-dead-letter",
        "Pub/Sub may not forward",
    ),
    "Pub/Sub may not sign the tokens of its pushes": (
        lambda p: p.update({PUSH_ACCOUNT_POLICY: {}}),
        "llm-push",
        "may not sign",
    ),
    "it pushes as somebody else": (
        lambda p: p[PUSH]["pushConfig"]["oidcToken"].update(serviceAccountEmail="x@y"),
        "llm-jobs-push",
        "it pushes as x@y",
    ),
    "its tokens are for somebody else": (
        lambda p: p[PUSH]["pushConfig"]["oidcToken"].update(audience="https://elsewhere"),
        "llm-jobs-push",
        "its tokens are for https://elsewhere",
    ),
    "Eventarc has no such trigger": (
        lambda p: p.pop(f"eventarc/v1/{TRIGGER}"),
        "trigger",
        "Eventarc has no such trigger",
    ),
    "Eventarc says that the trigger fails": (
        lambda p: p[f"eventarc/v1/{TRIGGER}"].update(
            conditions={"transport": {"code": "PERMISSION_DENIED", "message": "no topic"}}
        ),
        "trigger",
        "Eventarc says of it: no topic",
    ),
    "the trigger delivers as somebody else": (
        lambda p: p[f"eventarc/v1/{TRIGGER}"].update(serviceAccount="x@y"),
        "trigger",
        "it delivers as x@y",
    ),
    "the database is of the other type": (
        lambda p: p[DATABASE].update(type="DATASTORE_MODE"),
        "Firestore",
        "it is of the type DATASTORE_MODE",
    ),
    **{
        f"the API {name} is not enabled": (
            partial(disable, name),
            f"{name}.googleapis.com",
            "not enabled",
        )
        for name in ("iam", "logging", "monitoring", "secretmanager")
    },
    **{
        f"{account_id} has no right to {words}": (
            partial(take, on, role, account_id),
            subject,
            said,
        )
        for account_id, on, role, words, subject, said in (
            (
                "llm-dispatcher",
                GRANTS,
                f"{ROLES}/llmWorkerDocuments",
                "documents",
                "project",
                "llm-dispatcher may neither",
            ),
            (
                "llm-executor",
                GRANTS,
                f"{ROLES}/llmWorkerDocuments",
                "documents",
                "project",
                "llm-executor may neither",
            ),
            (
                "llm-sweep",
                GRANTS,
                f"{ROLES}/llmWorkerDocuments",
                "documents",
                "project",
                "llm-sweep may neither",
            ),
            (
                "llm-sweep",
                GRANTS,
                f"{ROLES}/llmWorkerQueries",
                "queries",
                "project",
                "llm-sweep may not look",
            ),
            (
                "llm-dispatcher",
                GRANTS,
                "roles/eventarc.eventReceiver",
                "events",
                "project",
                "may not receive events",
            ),
            (
                "llm-dispatcher",
                JOBS_POLICY,
                "roles/pubsub.publisher",
                "publish jobs",
                "llm-jobs",
                "llm-dispatcher may not publish",
            ),
            (
                "llm-sweep",
                JOBS_POLICY,
                "roles/pubsub.publisher",
                "publish jobs",
                "llm-jobs",
                "llm-sweep may not publish",
            ),
            (
                "llm-executor",
                DEAD_POLICY,
                "roles/pubsub.publisher",
                "dead letters",
                "llm-jobs-dead-letter",
                "llm-executor may not set",
            ),
            (
                "llm-executor",
                f"{BUCKET}/iam",
                "roles/storage.objectCreator",
                "create reports",
                "gs://",
                "may not create objects",
            ),
            (
                "llm-executor",
                f"{BUCKET}/iam",
                "roles/storage.objectViewer",
                "read reports",
                "gs://",
                "may not read objects",
            ),
            (
                "llm-executor",
                SECRET_POLICY,
                "roles/secretmanager.secretAccessor",
                "the key",
                "gemini-api-key",
                "does not start",
            ),
        )
    },
    "Pub/Sub may not acknowledge": (
        lambda p: p.update({f"{PUSH}:getIamPolicy": {}}),
        "llm-jobs-push",
        "may not acknowledge",
    ),
    "the bucket is missing": (lambda p: p.pop(BUCKET), "gs://", "no such bucket"),
    "the bucket has access lists": (
        lambda p: p[BUCKET]["iamConfiguration"].pop("uniformBucketLevelAccess"),
        "gs://",
        "uniform access is off",
    ),
    "the bucket could be made public": (
        lambda p: p[BUCKET]["iamConfiguration"].update(publicAccessPrevention="inherited"),
        "gs://",
        "could be made public",
    ),
    "the bucket forgets": (lambda p: p[BUCKET].pop("versioning"), "gs://", "versioning"),
    "the bucket is elsewhere": (
        lambda p: p[BUCKET].update(location="US"),
        "gs://",
        "it is in US",
    ),
    "the key's version is disabled": (
        lambda p: p[SECRET].update(state="DISABLED"),
        "gemini-api-key",
        "version 3 is DISABLED",
    ),
    "the key's version is missing": (
        lambda p: p.pop(SECRET),
        "gemini-api-key",
        "version 3 is missing",
    ),
    "the sweep is paused": (
        lambda p: p[SCHEDULE].update(state="PAUSED"),
        "llm-sweep",
        "paused",
    ),
    "nothing calls the sweep": (lambda p: p.pop(SCHEDULE), "llm-sweep", "no schedule"),
    "a model is not offered": (
        lambda p: p.pop("generativelanguage/v1/models/gemini-3.8-flash"),
        "gemini-3.8-flash",
        "it has no such model",
    ),
    "a model retires soon": (
        lambda p: set_environ(p, GEMINI_ALLOWED_MODELS="gemini-3.8-flash:2026-12-01"),
        "gemini-3.8-flash",
        "its last day of use is 2026-12-01",
    ),
    "a model was retired": (
        lambda p: set_environ(p, GEMINI_ALLOWED_MODELS="gemini-3.8-flash:2026-11-23"),
        "gemini-3.8-flash",
        "was retired after 2026-11-23",
    ),
    "prod has no allowlist": (
        lambda p: set_environ(p, GEMINI_ALLOWED_MODELS=""),
        "settings",
        "GEMINI_ALLOWED_MODELS is required",
    ),
    "the executor has no key": (
        lambda p: executor_of(p).pop("secretEnvironmentVariables"),
        "settings",
        "GEMINI_API_KEY is required",
    ),
}
