"""What should be: pure rules over what was observed, each with the command that mends it."""

from collections.abc import Callable, Iterator

from infra.ops.doctor.delivery import delivery_findings
from infra.ops.doctor.facts import (
    DISPATCHER,
    DUE_JOBS_INDEX,
    EXECUTOR,
    EXPIRING,
    FUNCTIONS,
    SCHEDULER_JOB,
    SWEEP,
    Bucket,
    CheckLevel,
    CheckResult,
    Cloud,
    Function,
    Observed,
    Trigger,
)
from infra.ops.doctor.grants import grant_findings
from infra.ops.doctor.hooks import hook_findings
from infra.ops.doctor.unread import unread_findings

#: Without one of these no step is executed.
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
    "storage",
)
_TRACE_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_EVENT_TYPE = "google.cloud.firestore.document.v1.written"
_DATABASE_TYPE = "FIRESTORE_NATIVE"
_DOCUMENT = "flow_runs/{runId}"
#: Where the functions of a multi-region database run
#: (https://cloud.google.com/firestore/docs/eventarc).
_REGION_OF = {"nam5": "us-central1", "eur3": "europe-west4"}
_CALLERS = {DISPATCHER: "llm-dispatcher", EXECUTOR: "llm-push", SWEEP: "llm-scheduler"}


def findings(observed: Observed) -> tuple[CheckResult, ...]:
    """Everything that is not as it should be, what other things depend on first."""
    rules: tuple[Callable[[Observed], Iterator[CheckResult]], ...] = (
        _services,
        _functions,
        _trigger,
        delivery_findings,
        grant_findings,
        _buckets,
        _key,
        hook_findings,
        _sweep,
    )
    found = (finding for rule in rules for finding in rule(observed))
    return (
        *unread_findings(observed),
        *(finding for finding in found if finding.subject not in observed.unreadable),
    )


def _services(observed: Observed) -> Iterator[CheckResult]:
    if observed.cloud is None or "services" in observed.unreadable:
        return
    for service in (f"{name}.googleapis.com" for name in _needed(observed)):
        if service not in observed.cloud.services:
            yield CheckResult(
                subject=service,
                problem="this API is not enabled",
                remedy=f"gcloud services enable {service} --project {observed.project}",
            )


def _needed(observed: Observed) -> Iterator[str]:
    """The APIs that the functions call, by their settings."""
    yield from SERVICES
    executor = observed.functions.get(EXECUTOR)
    environ = executor.environ if executor else {}
    if executor is not None:
        vertex = environ.get("GEMINI_BACKEND") == "vertex"
        yield "aiplatform" if vertex else "secretmanager"
    if "googleapis.com" in environ.get(_TRACE_ENDPOINT, ""):
        yield from ("telemetry", "cloudtrace")


def _functions(observed: Observed) -> Iterator[CheckResult]:
    if "functions" in observed.unreadable:
        return
    for name in FUNCTIONS:
        function = observed.functions.get(name)
        if function is None:
            yield CheckResult(
                subject=name, problem="there is no such function", remedy=observed.apply
            )
            continue
        if function.trouble:
            yield CheckResult(
                subject=name, problem=function.trouble, remedy=_logs(observed, name)
            )
        yield from _callers(observed, function)


def _logs(observed: Observed, name: str) -> str:
    if observed.cloud is None:
        return f"read its log below .worker-llm/logs, then {observed.apply}"
    return f"gcloud functions logs read {name} --gen2 --project {observed.project}"


def _callers(observed: Observed, function: Function) -> Iterator[CheckResult]:
    if function.invokers is None:
        return
    account = f"{_CALLERS[function.name]}@{observed.project}.iam.gserviceaccount.com"
    wanted = f"serviceAccount:{account}"
    if wanted not in function.invokers:
        yield CheckResult(
            subject=function.name,
            problem=f"{account} may not call it",
            remedy=observed.apply,
        )
    for member in sorted(function.invokers - {wanted}):
        yield CheckResult(
            subject=function.name, problem=f"{member} may call it too", remedy=observed.apply
        )


def _trigger(observed: Observed) -> Iterator[CheckResult]:
    cloud, dispatcher = observed.cloud, observed.functions.get(DISPATCHER)
    if cloud is None or dispatcher is None:
        return
    if cloud.database_location is None:
        yield CheckResult(
            subject="Firestore",
            problem="there is no such database",
            remedy=observed.apply,
        )
    elif cloud.database_type != _DATABASE_TYPE:
        yield CheckResult(
            subject="Firestore",
            problem=f"it is of the type {cloud.database_type}, which has no such events",
            remedy=f"make one of the type {_DATABASE_TYPE}, and name it in `database`",
        )
    for collection in sorted(set(EXPIRING) - cloud.expiring):
        yield CheckResult(
            subject=collection,
            problem="its documents are never deleted: expireAt has no TTL policy",
            remedy=observed.apply,
            level=CheckLevel.WARNING,
        )
    if not cloud.due_jobs_indexed:
        problem = "it is not there or not ready: the sweep cannot ask for due jobs"
        yield CheckResult(subject=DUE_JOBS_INDEX, problem=problem, remedy=observed.apply)
    if dispatcher.trigger is None:
        yield CheckResult(
            subject=DISPATCHER, problem="it has no trigger", remedy=observed.apply
        )
    else:
        for problem in _trigger_problems(dispatcher.trigger, cloud, observed.project):
            yield CheckResult(subject="trigger", problem=problem, remedy=observed.apply)


def _trigger_problems(trigger: Trigger, cloud: Cloud, project: str) -> Iterator[str]:
    account = f"{_CALLERS[DISPATCHER]}@{project}.iam.gserviceaccount.com"
    if trigger.state is None:
        yield "Eventarc has no such trigger: no event will come"
    elif trigger.state:
        yield f"Eventarc says of it: {trigger.state}"
    if trigger.account and trigger.account != account:
        yield f"it delivers as {trigger.account}, and only {account} may call the dispatcher"
    if trigger.region != cloud.database_location:
        yield (
            f"it is in {trigger.region} and the database in {cloud.database_location}: "
            "it will never fire"
        )
    if trigger.event_type != _EVENT_TYPE:
        yield f"it fires for {trigger.event_type}, not for {_EVENT_TYPE}"
    if trigger.filters.get("document") != _DOCUMENT:
        yield f"it watches {trigger.filters.get('document')}, not {_DOCUMENT}"
    if not trigger.retried:
        yield "an event that fails is lost: retrying is off"


def _buckets(observed: Observed) -> Iterator[CheckResult]:
    for name, bucket in observed.buckets.items():
        if bucket is None:
            yield CheckResult(
                subject=f"gs://{name}", problem="there is no such bucket", remedy=observed.apply
            )
        elif observed.cloud is not None:
            for problem in _bucket_problems(bucket, observed.cloud):
                yield CheckResult(
                    subject=f"gs://{name}", problem=problem, remedy=observed.apply
                )


def _bucket_problems(bucket: Bucket, cloud: Cloud) -> Iterator[str]:
    if not bucket.uniform_access:
        yield "objects can have access lists of their own: uniform access is off"
    if not bucket.public_access_prevented:
        yield "it could be made public: public access prevention is not enforced"
    if not bucket.versioned:
        yield "what is overwritten or deleted by mistake is gone: versioning is off"
    place = cloud.database_location
    if place and bucket.location.lower() != _REGION_OF.get(place, place):
        yield f"it is in {bucket.location} and the database in {place}"


def _key(observed: Observed) -> Iterator[CheckResult]:
    executor = observed.functions.get(EXECUTOR)
    if executor is None or executor.key is None:
        return
    key, project = executor.key, observed.project
    if not key.version.isdecimal():
        yield CheckResult(
            subject=key.secret,
            problem=f"version {key.version!r}: a new key takes effect without a deployment",
            remedy=f"set gemini.api_key_version to a number, then {observed.apply}",
        )
    if key.state != "ENABLED":
        yield CheckResult(
            subject=key.secret,
            problem=f"version {key.version} is {key.state or 'missing'}: no executor can start",
            remedy=f"gcloud secrets versions enable {key.version} --secret {key.secret} "
            f"--project {project}, or add a version and set gemini.api_key_version",
        )


def _sweep(observed: Observed) -> Iterator[CheckResult]:
    sweep = observed.functions.get(SWEEP)
    if observed.cloud is None or sweep is None or observed.cloud.sweep_scheduled:
        return
    if observed.cloud.sweep_scheduled is None:
        yield CheckResult(
            subject=SCHEDULER_JOB, problem="no schedule calls it", remedy=observed.apply
        )
        return
    yield CheckResult(
        subject=SCHEDULER_JOB,
        problem="its schedule is paused",
        remedy=f"gcloud scheduler jobs resume {SCHEDULER_JOB} --location {sweep.region} "
        f"--project {observed.project}",
    )
