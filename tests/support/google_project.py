"""A healthy project, as Google's REST APIs describe it, served over HTTP.

The shapes are those of the APIs' references; only fields that are read are here.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from infra.local.serving.free_ports import LOOPBACK

PROJECT, NUMBER, REGION = "example-project", "123456789012", "europe-west4"
_AT = f"projects/{PROJECT}/locations/{REGION}"
_AGENT = f"serviceAccount:service-{NUMBER}@gcp-sa-pubsub.iam.gserviceaccount.com"
TRIGGER = f"{_AT}/triggers/llm-dispatcher-123456"
BUCKET = f"{PROJECT}-llm-artifacts"
EXECUTOR_URL = "https://llm-executor-abc-ez.a.run.app"
ENVIRON = {
    "GCP_PROJECT": PROJECT,
    "GCP_REGION": REGION,
    "ENVIRONMENT": "prod",
    "ARTIFACTS_BUCKET": f"{PROJECT}-llm-artifacts",
    "DEAD_LETTER_TOPIC": f"projects/{PROJECT}/topics/llm-jobs-dead-letter",
    "GEMINI_BACKEND": "ai_studio",
    "GEMINI_ALLOWED_MODELS": "gemini-3.8-flash,gemini-3.5-flash-lite",
    "MAX_ATTEMPTS": "5",
}
SERVICES = (
    "artifactregistry",
    "cloudbuild",
    "cloudfunctions",
    "cloudscheduler",
    "eventarc",
    "firestore",
    "iam",
    "logging",
    "monitoring",
    "pubsub",
    "run",
    "secretmanager",
    "storage",
)


def account(name: str) -> str:
    return f"serviceAccount:{name}@{PROJECT}.iam.gserviceaccount.com"


def policy(role: str, *members: str) -> dict[str, Any]:
    return {"version": 1, "bindings": [{"role": role, "members": list(members)}]}


def function(name: str, **config: Any) -> dict[str, Any]:
    service = {"uri": f"https://{name}-abc-ez.a.run.app", "timeoutSeconds": 60, **config}
    service.setdefault("environmentVariables", ENVIRON)
    return {"name": f"{_AT}/functions/{name}", "state": "ACTIVE", "serviceConfig": service}


def healthy_project() -> dict[str, Any]:
    """Service and path -> what a GET answers."""
    dispatcher = function("llm-dispatcher")
    dispatcher["eventTrigger"] = {
        "triggerRegion": REGION,
        "eventType": "google.cloud.firestore.document.v1.written",
        "eventFilters": [
            {"attribute": "database", "value": "(default)"},
            {
                "attribute": "document",
                "value": "flow_runs/{runId}",
                "operator": "match-path-pattern",
            },
        ],
        "retryPolicy": "RETRY_POLICY_RETRY",
        "trigger": TRIGGER,
        "serviceAccountEmail": account("llm-dispatcher").partition(":")[2],
    }
    key = {"key": "GEMINI_API_KEY", "projectId": PROJECT, "secret": "gemini-api-key"}
    executor = function(
        "llm-executor",
        timeoutSeconds=570,
        secretEnvironmentVariables=[{**key, "version": "3"}],
    )
    functions = [dispatcher, executor, function("llm-sweep"), function("someone-elses")]
    return {
        f"serviceusage/v1/projects/{PROJECT}/services": {
            "services": [
                {"name": f"projects/{NUMBER}/services/{name}.googleapis.com"}
                for name in SERVICES
            ]
        },
        f"cloudfunctions/v2/projects/{PROJECT}/locations/-/functions": {"functions": functions},
        f"eventarc/v1/{TRIGGER}": {
            "name": TRIGGER,
            "serviceAccount": account("llm-dispatcher").partition(":")[2],
            "conditions": {},
        },
        **_callers(),
        **_database(),
        **_grants(),
        **_queue(),
        f"storage/storage/v1/b/{PROJECT}-llm-artifacts": {
            "location": REGION.upper(),
            "iamConfiguration": {
                "uniformBucketLevelAccess": {"enabled": True},
                "publicAccessPrevention": "enforced",
            },
            "versioning": {"enabled": True},
        },
        f"secretmanager/v1/projects/{PROJECT}/secrets/gemini-api-key/versions/3": {
            "name": f"projects/{NUMBER}/secrets/gemini-api-key/versions/3",
            "state": "ENABLED",
        },
        f"cloudscheduler/v1/{_AT}/jobs/llm-sweep": {"state": "ENABLED"},
        "generativelanguage/v1/models/gemini-3.8-flash": {"name": "models/gemini-3.8-flash"},
        "generativelanguage/v1/models/gemini-3.5-flash-lite": {"name": "models/x"},
        f"{REGION}-aiplatform/v1/publishers/google/models/gemini-3.8-flash": {"name": "x"},
    }


def _callers() -> dict[str, Any]:
    callers = {
        "llm-dispatcher": "llm-dispatcher",
        "llm-executor": "llm-push",
        "llm-sweep": "llm-scheduler",
    }
    return {
        f"run/v2/{_AT}/services/{name}:getIamPolicy": policy(
            "roles/run.invoker", account(caller)
        )
        for name, caller in callers.items()
    }


def _database() -> dict[str, Any]:
    database = f"firestore/v1/projects/{PROJECT}/databases/(default)"
    return {
        database: {"locationId": REGION, "type": "FIRESTORE_NATIVE"},
        **{
            f"{database}/collectionGroups/{name}/fields/expireAt": {
                "ttlConfig": {"state": "ACTIVE"}
            }
            for name in ("llm_jobs", "llm_spend")
        },
        f"{database}/collectionGroups/llm_jobs/indexes": {
            "indexes": [
                {
                    "state": "READY",
                    "fields": [
                        {"fieldPath": name, "order": "ASCENDING"}
                        for name in ("shard", "wakeAt", "__name__")
                    ],
                }
            ]
        },
    }


def bindings(*policies: Mapping[str, Any]) -> dict[str, Any]:
    """One policy of several."""
    return {"version": 3, "bindings": [b for each in policies for b in each["bindings"]]}


def _grants() -> dict[str, Any]:
    roles = f"projects/{PROJECT}/roles"
    everyone = [account(name) for name in ("llm-dispatcher", "llm-executor", "llm-sweep")]
    push, executor = account("llm-push").partition(":")[2], account("llm-executor")
    return {
        f"cloudresourcemanager/v3/projects/{PROJECT}:getIamPolicy": bindings(
            policy(f"{roles}/llmWorkerDocuments", *everyone),
            policy(f"{roles}/llmWorkerQueries", account("llm-sweep")),
            policy("roles/eventarc.eventReceiver", account("llm-dispatcher")),
            policy("roles/owner", "user:somebody@example.com"),
        ),
        f"iam/v1/projects/{PROJECT}/serviceAccounts/{push}:getIamPolicy": policy(
            "roles/iam.serviceAccountTokenCreator", _AGENT
        ),
        f"storage/storage/v1/b/{BUCKET}/iam": bindings(
            policy("roles/storage.objectCreator", executor),
            policy("roles/storage.objectViewer", executor),
        ),
        f"secretmanager/v1/projects/{PROJECT}/secrets/gemini-api-key:getIamPolicy": policy(
            "roles/secretmanager.secretAccessor", executor
        ),
        f"cloudscheduler/v1/projects/{PROJECT}/locations": {
            "locations": [{"locationId": name} for name in (REGION, "europe-west1")]
        },
    }


def _queue() -> dict[str, Any]:
    root = f"pubsub/v1/projects/{PROJECT}"
    jobs, dead = (f"projects/{PROJECT}/topics/llm-jobs{end}" for end in ("", "-dead-letter"))
    push = {
        "topic": jobs,
        "ackDeadlineSeconds": 600,
        "pushConfig": {
            "pushEndpoint": EXECUTOR_URL,
            "oidcToken": {
                "serviceAccountEmail": account("llm-push").partition(":")[2],
                "audience": EXECUTOR_URL,
            },
        },
        "deadLetterPolicy": {"deadLetterTopic": dead, "maxDeliveryAttempts": 10},
        "state": "ACTIVE",
    }
    pull = {"topic": dead, "ackDeadlineSeconds": 60, "pushConfig": {}, "state": "ACTIVE"}
    return {
        f"pubsub/v1/{jobs}": {"name": jobs},
        f"pubsub/v1/{dead}": {"name": dead},
        f"{root}/subscriptions/llm-jobs-push": push,
        f"{root}/subscriptions/llm-jobs-dead-letter-pull": pull,
        f"pubsub/v1/{dead}:getIamPolicy": policy(
            "roles/pubsub.publisher", _AGENT, account("llm-executor")
        ),
        f"pubsub/v1/{jobs}:getIamPolicy": policy(
            "roles/pubsub.publisher", account("llm-dispatcher"), account("llm-sweep")
        ),
        f"{root}/subscriptions/llm-jobs-push:getIamPolicy": policy(
            "roles/pubsub.subscriber", _AGENT
        ),
    }


@contextmanager
def served(project: Mapping[str, Any]) -> Iterator[str]:
    """Serve the project; an integer in the place of a resource is the status that answers."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def do_GET(self) -> None:
            found = project.get(unquote(urlsplit(self.path).path).lstrip("/"), 404)
            status = found if isinstance(found, int) else 200
            body = json.dumps({} if isinstance(found, int) else found).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's
            """Say nothing."""

    with ThreadingHTTPServer((LOOPBACK, 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
