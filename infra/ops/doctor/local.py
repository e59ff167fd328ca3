"""The running local environment as the doctor finds it."""

import requests

from infra.local.emulators.pubsub import DEAD_LETTER_SUBSCRIPTION, PUSH_SUBSCRIPTION
from infra.local.processes.functions import (
    BUCKET,
    DEAD_LETTER_TOPIC,
    JOBS_TOPIC,
    function_environ,
)
from infra.local.state_file import EnvironmentState
from infra.ops.doctor import calls
from infra.ops.doctor.cloud import subscription
from infra.ops.doctor.facts import (
    DISPATCHER,
    EXECUTOR,
    NOTIFY,
    SWEEP,
    Bucket,
    CheckResult,
    Function,
    Observed,
)
from infra.ops.doctor.rest import Rest

_PROBE_SECONDS = 5.0
#: Name in the environment's own list -> name as in the cloud.
_FUNCTIONS = {"dispatcher": DISPATCHER, "executor": EXECUTOR, "sweep": SWEEP, "notify": NOTIFY}
_STORAGE, _MODEL = "storage server", "Gemini stand-in"
#: There, nothing but the environment itself reaches the folder of the objects.
_CLOSED = Bucket(location="", uniform_access=True, public_access_prevented=True, versioned=True)


def observe_local(state: EnvironmentState) -> Observed:
    """Everything that the rules look at and this machine has."""
    session = requests.Session()
    session.trust_env = False
    services = {"pubsub": f"http://{state.pubsub_host}", "storage": state.urls[_STORAGE]}
    rest = Rest(session, services.__getitem__)
    bucket = rest.get(f"gs://{BUCKET}", calls.BUCKET, f"storage/v1/b/{BUCKET}")
    topics = {
        name
        for name in (JOBS_TOPIC, DEAD_LETTER_TOPIC)
        if rest.get(name, calls.TOPIC, f"v1/projects/{state.project}/topics/{name}")
    }
    return Observed(
        project=state.project,
        cloud=None,
        functions={
            _FUNCTIONS[name]: _function(session, state, name, url)
            for name, url in state.urls.items()
            if name in _FUNCTIONS
        },
        topics=frozenset(topics),
        subscriptions={
            name: found
            for name in (PUSH_SUBSCRIPTION, DEAD_LETTER_SUBSCRIPTION)
            if (found := subscription(rest, state.project, name))
        },
        buckets={BUCKET: _CLOSED if bucket else None},
        unreadable=rest.unreadable,
    )


def stand_in_findings(state: EnvironmentState) -> tuple[CheckResult, ...]:
    """Whether the model's stand-in answers."""
    with requests.Session() as session:
        session.trust_env = False
        trouble = _trouble(session, state.urls[_MODEL])
    if not trouble:
        return ()
    return (
        CheckResult(
            subject=_MODEL, problem=trouble, remedy="end `worker-llm up` and start it again"
        ),
    )


def _function(
    session: requests.Session, state: EnvironmentState, name: str, url: str
) -> Function:
    environ = function_environ(state.project, state.urls[_MODEL])
    if "notify" in state.urls:
        environ["WEBHOOK_URL"] = state.urls["notify"]
    return Function(
        name=_FUNCTIONS[name],
        region="",
        url=url,
        trouble=_trouble(session, url),
        # Nothing cuts off a local invocation.
        timeout_seconds=int(environ.get("INVOCATION_TIMEOUT_SECONDS", "540")),
        environ=environ,
    )


def _trouble(session: requests.Session, url: str) -> str:
    try:
        # The framework answers this path itself.
        session.get(f"{url}/robots.txt", timeout=_PROBE_SECONDS)
    except requests.RequestException:
        return f"it does not answer at {url}"
    return ""
