"""The doctor on a project: clean when healthy, and a finding for each planted fault."""

from collections.abc import Sequence
from datetime import date

import pytest
import requests

from executor.settings import ExecutorSettings
from infra.ops.doctor.cloud import observe_project
from infra.ops.doctor.facts import CheckLevel, CheckResult
from infra.ops.doctor.models import ask_for_models, executor_settings, model_findings
from infra.ops.doctor.rest import Rest
from infra.ops.doctor.rules import findings
from tests.support.google_project import NUMBER, PROJECT, healthy_project, served
from tests.tables.doctor_faults import (
    DATABASE,
    FAULTS,
    GRANTS,
    PUSH,
    SCHEDULE,
    SECRET,
    SERVICES,
    Project,
    executor_of,
    set_environ,
    trigger_of,
)

TODAY = date(2026, 11, 24)
APPLY = "terraform -chdir=infra/terraform/environments/prod apply"


def examined(project: Project) -> Sequence[CheckResult]:
    with served(project) as url, requests.Session() as session:
        session.trust_env = False
        return _examine(Rest(session, lambda service: f"{url}/{service}"))


def _examine(rest: Rest) -> Sequence[CheckResult]:
    observed = observe_project(rest, PROJECT, "(default)")
    settings = executor_settings(observed)
    found = list(findings(observed))
    if isinstance(settings, ExecutorSettings):
        found += model_findings(settings, ask_for_models(rest, settings), TODAY)
    else:
        found += [CheckResult(subject="settings", problem=p, remedy=APPLY) for p in settings]
    return found


def use_vertex(project: Project) -> None:
    """Change the project to Vertex: no key, another API, and the one right to call a model."""
    executor_of(project).pop("secretEnvironmentVariables")
    set_environ(project, GEMINI_BACKEND="vertex", GEMINI_ALLOWED_MODELS="gemini-3.8-flash")
    api = {"name": f"projects/{NUMBER}/services/aiplatform.googleapis.com"}
    project[SERVICES]["services"].append(api)
    member = f"serviceAccount:llm-executor@{PROJECT}.iam.gserviceaccount.com"
    role = {"role": f"projects/{PROJECT}/roles/llmWorkerModel", "members": [member]}
    project[GRANTS]["bindings"].append(role)


def test_a_healthy_project_has_no_finding() -> None:
    assert examined(healthy_project()) == []


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
    use_vertex(project)

    assert examined(project) == []


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("global", "aiplatform"),
        ("europe-west1", "europe-west1-aiplatform"),
        ("eu", "aiplatform.eu.rep"),
        ("us", "aiplatform.us.rep"),
    ],
)
def test_vertex_is_asked_where_its_location_answers(location: str, host: str) -> None:
    project = healthy_project()
    use_vertex(project)
    set_environ(project, GEMINI_LOCATION=location)
    del project["europe-west4-aiplatform/v1/publishers/google/models/gemini-3.8-flash"]
    project[f"{host}/v1/publishers/google/models/gemini-3.8-flash"] = {"name": "x"}

    assert examined(project) == []


def test_an_executor_that_may_not_call_vertex_is_told() -> None:
    project = healthy_project()
    use_vertex(project)
    project[GRANTS]["bindings"].pop()

    [finding] = examined(project)

    assert "may not call the model" in finding.problem


def test_a_schedule_in_another_region_is_found() -> None:
    project = healthy_project()
    project[SCHEDULE.replace("europe-west4", "europe-west1")] = project.pop(SCHEDULE)

    assert examined(project) == []


def test_a_role_on_the_whole_project_is_as_good_as_one_on_a_resource() -> None:
    project = healthy_project()
    member = f"serviceAccount:llm-executor@{PROJECT}.iam.gserviceaccount.com"
    project[f"secretmanager/v1/projects/{PROJECT}/secrets/gemini-api-key:getIamPolicy"] = {}
    role = {"role": "roles/secretmanager.secretAccessor", "members": [member]}
    project[GRANTS]["bindings"].append(role)

    assert examined(project) == []


def test_a_version_that_is_no_number_is_told() -> None:
    project = healthy_project()
    executor_of(project)["secretEnvironmentVariables"][0]["version"] = "latest"
    project[SECRET.replace("/3", "/latest")] = {"state": "ENABLED"}

    [finding] = examined(project)

    assert "a new key takes effect without a deployment" in finding.problem


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

    assert {finding.level for finding in examined(project)} == {CheckLevel.WARNING}
