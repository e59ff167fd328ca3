"""The doctor as a person, as a service account and impersonated, with each planted fault.

The APIs are those of Google's discovery documents, with their verbs, parameters, scopes,
permissions, pages and errors.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import google.auth.iam
import google.oauth2.credentials
import pytest
import requests

from executor.settings import ExecutorSettings
from infra.ops.doctor import rest
from infra.ops.doctor.calls import CALLS, SCOPE
from infra.ops.doctor.cloud import observe_project
from infra.ops.doctor.facts import CheckResult
from infra.ops.doctor.models import ask_for_models, executor_settings, model_findings
from infra.ops.doctor.rest import Rest, authorized_session, identity_of
from infra.ops.doctor.rules import findings
from tests.support.google_apis import EVERY_PERMISSION, GoogleApis, described
from tests.support.google_project import PROJECT, healthy_project
from tests.support.google_sign_in import (
    ACCOUNT,
    Credentials,
    credentials_file,
    sign_in_served,
)
from tests.tables.doctor_faults import FAULTS, Project

_TODAY = date(2026, 11, 24)
_EVERY_KIND = pytest.mark.parametrize("kind", Credentials)
_READ_ONLY = "https://www.googleapis.com/auth/cloud-platform.read-only"


@pytest.fixture(scope="module")
def sign_in() -> Iterator[str]:
    with sign_in_served() as url:
        yield url


@pytest.fixture(scope="module")
def files(sign_in: str, tmp_path_factory: pytest.TempPathFactory) -> dict[Credentials, Path]:
    """A file of credentials for each kind of identity."""
    folder = tmp_path_factory.mktemp("credentials")
    found = {kind: folder / f"{kind.name}.json" for kind in Credentials}
    for kind, path in found.items():
        path.write_text(json.dumps(credentials_file(kind, sign_in)))
    return found


@pytest.fixture
def session_of(
    sign_in: str, files: dict[Credentials, Path], monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Signs in as an identity of this kind, and replaces the network by the APIs."""
    token_url = "_GOOGLE_OAUTH2_TOKEN_ENDPOINT"
    monkeypatch.setattr(google.oauth2.credentials, token_url, f"{sign_in}/token")
    impersonate = "/v1/projects/-/serviceAccounts/{}:generateAccessToken"
    monkeypatch.setattr(google.auth.iam, "_IAM_ENDPOINT", f"{sign_in}{impersonate}")
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)

    def session(kind: Credentials, apis: GoogleApis) -> requests.Session:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(files[kind]))
        made = authorized_session()
        made.mount("https://", apis)
        return made

    return session


def examined(session: requests.Session) -> Sequence[CheckResult]:
    rest_of_session = Rest(session)
    observed = observe_project(rest_of_session, PROJECT, "(default)")
    settings = executor_settings(observed)
    found = list(findings(observed))
    if isinstance(settings, ExecutorSettings):
        models = ask_for_models(Rest(session), settings)
        found += model_findings(settings, models, _TODAY)
    else:
        found += [CheckResult(subject="settings", problem=p, remedy="apply") for p in settings]
    return found


def without(*calls: str) -> Collection[str]:
    """All permissions except those of these methods."""
    return EVERY_PERMISSION - {call.permission for call in CALLS if call.method in calls}


@_EVERY_KIND
def test_nothing_is_invented(session_of: Any, kind: Credentials) -> None:
    apis = GoogleApis(healthy_project())

    assert examined(session_of(kind, apis)) == []
    # The other locations of a schedule are asked for only if it is not in the first.
    asked = {call.method for call in CALLS} - {"cloudscheduler.projects.locations.list"}
    assert set(apis.called) == asked


@_EVERY_KIND
@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_the_one_finding(
    session_of: Any, kind: Credentials, name: str
) -> None:
    plant, subject, problem = FAULTS[name]
    project: Project = healthy_project()
    plant(project)

    [finding] = examined(session_of(kind, GoogleApis(project)))

    assert finding.subject.startswith(subject)
    assert problem in finding.problem
    assert finding.remedy


@_EVERY_KIND
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.method)
def test_a_permission_that_is_missing_is_named_with_the_role_that_has_it(
    session_of: Any, kind: Credentials, call: Any
) -> None:
    project: Project = healthy_project()
    if call.method == "cloudscheduler.projects.locations.list":
        schedule = "jobs/llm-sweep"
        project = {name: item for name, item in project.items() if schedule not in name}
    who = "user:YOU" if kind is Credentials.PERSON else f"serviceAccount:{ACCOUNT}"

    found = examined(session_of(kind, GoogleApis(project, without(call.method))))

    told = [finding for finding in found if call.permission in finding.problem]
    assert told
    for finding in told:
        assert f"{who} has not {call.permission}" in finding.problem
        assert f"--member={who} --role={call.role}" in finding.remedy
    # Nothing is concluded from what could not be seen.
    assert all("not checked" in f.problem for f in found if f.subject == told[0].subject)


@_EVERY_KIND
def test_an_api_that_is_not_enabled_is_named_with_what_enables_it(
    session_of: Any, kind: Credentials
) -> None:
    project: Project = healthy_project()
    services = project[f"serviceusage/v1/projects/{PROJECT}/services"]["services"]
    services[:] = [one for one in services if "eventarc" not in one["name"]]
    api = "eventarc.googleapis.com"

    found = examined(session_of(kind, GoogleApis(project, disabled={api})))

    assert {finding.subject for finding in found} == {"trigger", api}
    assert {finding.remedy for finding in found} == {
        f"gcloud services enable {api} --project {PROJECT}"
    }


@_EVERY_KIND
def test_an_api_that_was_enabled_a_moment_ago_wants_patience(
    session_of: Any, kind: Credentials
) -> None:
    apis = GoogleApis(healthy_project(), disabled={"eventarc.googleapis.com"})

    [finding] = examined(session_of(kind, apis))

    assert finding.subject == "trigger"
    assert "again in a few minutes" in finding.remedy


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.method)
def test_a_call_reads_and_takes_the_scope_that_is_asked_for(call: Any) -> None:
    """The API's own discovery document says which scope a call needs."""
    method = described(call)

    assert SCOPE in method["scopes"]
    assert method["httpMethod"] == ("POST" if call.posts else "GET")
    assert not call.posts or call.method.endswith(".getIamPolicy")


def test_the_read_only_scope_would_be_refused_and_told(
    session_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service account gets exactly the scope it asks for; most methods here refuse it."""
    monkeypatch.setattr(rest, "SCOPE", _READ_ONLY)
    session = session_of(Credentials.ACCOUNT, GoogleApis(healthy_project()))

    found = examined(session)

    assert "Firestore" in {finding.subject for finding in found}
    assert all("the credentials have not the scope" in finding.problem for finding in found)
    accepted = [call.method for call in CALLS if _READ_ONLY in described(call)["scopes"]]
    assert {method.partition(".")[0] for method in accepted} <= {
        "storage",
        "serviceusage",
        "cloudresourcemanager",
    }


@_EVERY_KIND
def test_the_doctor_knows_who_it_is(session_of: Any, kind: Credentials) -> None:
    session = session_of(kind, GoogleApis({}))

    known = identity_of(session)
    assert known == ("user:YOU" if kind is Credentials.PERSON else f"serviceAccount:{ACCOUNT}")
