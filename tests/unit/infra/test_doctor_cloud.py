"""The doctor on a project: clean when healthy, and a finding for each planted fault."""

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

import pytest
import requests

from executor.settings import ExecutorSettings
from infra.ops.doctor_cloud import observe_project
from infra.ops.doctor_facts import Finding, Level
from infra.ops.doctor_models import ask_for_models, executor_settings, model_findings
from infra.ops.doctor_rest import Rest
from infra.ops.doctor_rules import findings
from tests.google_project import NUMBER, PROJECT, REGION, healthy_project, policy, served

TODAY = date(2026, 11, 24)
APPLY = "terraform -chdir=infra/terraform/environments/prod apply"
_ROOT = f"pubsub/v1/projects/{PROJECT}"
PUSH = f"{_ROOT}/subscriptions/llm-jobs-push"
PULL = f"{_ROOT}/subscriptions/llm-jobs-dead-letter-pull"
FUNCTIONS = f"cloudfunctions/v2/projects/{PROJECT}/locations/-/functions"
BUCKET = f"storage/storage/v1/b/{PROJECT}-llm-artifacts"
DATABASE = f"firestore/v1/projects/{PROJECT}/databases/(default)"
SERVICES = f"serviceusage/v1/projects/{PROJECT}/services"
INVOKERS = f"run/v2/projects/{PROJECT}/locations/{REGION}/services/llm-executor:getIamPolicy"
SECRET = f"secretmanager/v1/projects/{PROJECT}/secrets/gemini-api-key/versions/3"
SCHEDULE = f"cloudscheduler/v1/projects/{PROJECT}/locations/{REGION}/jobs/llm-sweep"
Project = dict[str, Any]


def examined(project: Project) -> Sequence[Finding]:
    with served(project) as url, requests.Session() as session:
        session.trust_env = False
        return _examine(Rest(session, lambda service: f"{url}/{service}"))


def _examine(rest: Rest) -> Sequence[Finding]:
    observed = observe_project(rest, PROJECT, "(default)")
    settings = executor_settings(observed)
    found = list(findings(observed))
    if isinstance(settings, ExecutorSettings):
        found += model_findings(settings, ask_for_models(rest, settings), TODAY)
    else:
        found += [Finding(subject="settings", problem=p, remedy=APPLY) for p in settings]
    return found


def test_a_healthy_project_has_no_finding() -> None:
    assert examined(healthy_project()) == []


def executor_of(project: Project) -> dict[str, Any]:
    config: dict[str, Any] = project[FUNCTIONS]["functions"][1]["serviceConfig"]
    return config


def set_environ(project: Project, **environ: str) -> None:
    config = executor_of(project)
    config["environmentVariables"] = config["environmentVariables"] | environ


def trigger_of(project: Project) -> dict[str, Any]:
    trigger: dict[str, Any] = project[FUNCTIONS]["functions"][0]["eventTrigger"]
    return trigger


#: What is done to the project, whom it concerns, and what is said about it.
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
        lambda p: p.update({f"{_ROOT}/topics/llm-jobs-dead-letter:getIamPolicy": {}}),
        "llm-jobs-dead-letter",
        "may not forward",
    ),
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


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_the_one_finding(name: str) -> None:
    plant, subject, problem = FAULTS[name]
    project = healthy_project()
    plant(project)

    [finding] = examined(project)

    assert finding.subject.startswith(subject)
    assert problem in finding.problem
    assert finding.remedy


def test_a_database_elsewhere_is_told_of_the_trigger_and_the_bucket() -> None:
    project = healthy_project()
    project[DATABASE]["locationId"] = "us-east1"

    found = examined(project)

    assert [finding.subject for finding in found] == [
        "trigger",
        f"gs://{PROJECT}-llm-artifacts",
    ]


def test_a_multi_region_database_is_near_its_region() -> None:
    project = healthy_project()
    project[DATABASE]["locationId"] = "eur3"
    trigger_of(project)["triggerRegion"] = "eur3"

    assert examined(project) == []


def test_vertex_needs_no_key_and_is_asked_in_its_location() -> None:
    project = healthy_project()
    executor_of(project).pop("secretEnvironmentVariables")
    set_environ(project, GEMINI_BACKEND="vertex", GEMINI_ALLOWED_MODELS="gemini-3.8-flash")

    assert examined(project) == []


def test_a_version_that_is_no_number_is_told() -> None:
    project = healthy_project()
    executor_of(project)["secretEnvironmentVariables"][0]["version"] = "latest"
    project[SECRET.replace("/3", "/latest")] = {"state": "ENABLED"}

    [finding] = examined(project)

    assert "a new key acts unseen" in finding.problem


@pytest.mark.parametrize("status", [403, 500])
def test_what_cannot_be_read_is_said_once_and_nothing_is_made_of_it(status: int) -> None:
    project = healthy_project()
    project[PUSH] = project[SERVICES] = status

    found = examined(project)

    assert {finding.subject for finding in found} == {"llm-jobs-push", "services"}
    assert all(str(status) in finding.problem for finding in found)
    assert all("not checked" in finding.problem for finding in found)


def test_an_empty_project_is_told_what_is_missing_and_not_the_rest() -> None:
    found = examined({SERVICES: {"services": [{"name": f"projects/{NUMBER}/services/x"}]}})

    problems = [finding.problem for finding in found]
    assert problems.count("there is no such function") == 3
    assert problems.count("there is no such topic") == 2
    assert problems.count("there is no such subscription") == 2


def test_warnings_alone_are_no_problem() -> None:
    project = healthy_project()
    set_environ(project, GEMINI_ALLOWED_MODELS="gemini-3.8-flash:2026-12-01")

    assert {finding.level for finding in examined(project)} == {Level.WARNING}
