"""What a project needs before the first apply, and what its identities may do."""

import re
import shlex
from collections.abc import Mapping

import pytest
from typer.testing import CliRunner

from infra.ops.bootstrap.plan import BootstrapRefused, Wanted, steps
from infra.ops.bootstrap.roles import DEPLOYER, ELSEWHERE, PLANNER
from infra.ops.main import app
from tests.support.terraform_module import ROOT, resources

_IAM_PAGE = ROOT / "docs/reference/iam.md"
_LINE = re.compile(r"^\| `(roles/\S+)` \|(.*)\|.*\|$", re.MULTILINE)
_P, _R = ("--project", "my-project"), ("--region", "europe-west4")


def dry_run(*arguments: str) -> list[str]:
    """The lines of a dry run."""
    done = CliRunner().invoke(app, ["bootstrap", *_P, *_R, "--dry-run", *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()


def test_every_line_of_a_dry_run_is_a_command_or_a_comment() -> None:
    lines = dry_run("--github", "me/it")

    assert [line for line in lines if not line.startswith(("gcloud ", "# "))] == []
    commands = [line for line in lines if line.startswith("gcloud ")]
    assert [shlex.join(shlex.split(line)) for line in commands] == commands
    # A comment line before each command says what the command is for.
    for command in commands:
        assert lines[lines.index(command) - 1].startswith("# ")


def test_a_dry_run_says_what_an_empty_project_needs_in_this_order() -> None:
    commands = [line for line in dry_run("--github", "me/it") if line.startswith("gcloud ")]
    begins = [" ".join(shlex.split(line)[1:5]) for line in commands]

    agents = 6
    assert begins[0].startswith("services enable")
    assert begins[1].startswith("storage buckets create gs://my-project-terraform-state")
    assert commands[2] == (
        "gcloud storage buckets update gs://my-project-terraform-state --versioning"
    )
    assert begins[3 : 3 + agents] == ["beta services identity create"] * agents
    assert begins[3 + agents] == "iam service-accounts create llm-deployer"
    rest = commands[4 + agents :]
    granted = [re.findall(r"--role (\S+)", line)[0] for line in rest[: len(DEPLOYER)]]
    assert granted == list(DEPLOYER)
    others = rest[len(DEPLOYER) :]
    assert [
        line for line in others if "llm-deployer" in line and "roles/iam.workload" not in line
    ] == []
    assert others[0].startswith("gcloud iam service-accounts create llm-planner")
    assert [re.findall(r"--role (\S+)", line)[0] for line in others[1 : 1 + len(PLANNER)]] == [
        *PLANNER
    ]
    assert "roles/storage.objectViewer" in others[1 + len(PLANNER)]
    pool, provider, deploys, plans = others[2 + len(PLANNER) :]
    assert "workload-identity-pools create worker-llm" in pool
    assert "--attribute-condition 'assertion.repository == " in provider
    assert "attribute.branch/me/it@refs/heads/main" in deploys
    assert "llm-deployer@" in deploys
    assert "attribute.repository/me/it" in plans
    assert "llm-planner@" in plans


def test_without_a_repository_nobody_from_outside_signs_in() -> None:
    text = "\n".join(dry_run())

    assert "workload" not in text
    assert "llm-planner" not in text
    assert "llm-deployer" in text


def test_no_key_is_ever_made() -> None:
    assert "keys" not in "\n".join(dry_run("--github", "me/it"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"project": "My Project", "region": "europe-west4"}, "--project"),
        ({"project": "my-project", "region": "eu"}, "--region"),
        ({"project": "my-project", "region": "europe-west4", "github": "me"}, "--github"),
        ({"project": "my-project", "region": "europe-west4", "github": "a/b'||'"}, "--github"),
    ],
)  # fmt: skip
def test_what_is_no_project_region_or_repository_is_refused(
    arguments: Mapping[str, str], said: str
) -> None:
    with pytest.raises(BootstrapRefused, match=said):
        Wanted(**arguments)


def test_a_provider_that_trusts_somebody_else_is_left_alone() -> None:
    wanted = Wanted(project="my-project", region="europe-west4", github="me/it")
    (step,) = [step for step in steps(wanted, "1") if "GitHub" in step.why]
    name = "projects/1/locations/global/workloadIdentityPools/worker-llm/providers/github"

    with pytest.raises(BootstrapRefused, match="delete it first"):
        step.missing([{"name": name, "attributeCondition": "assertion.repository == 'you/it'"}])


def test_a_deleted_pool_is_taken_back() -> None:
    wanted = Wanted(project="my-project", region="europe-west4", github="me/it")
    (step,) = [step for step in steps(wanted, "1") if "sign in" in step.why]
    name = "projects/1/locations/global/workloadIdentityPools/worker-llm"

    ((*verb, _, _, _, _),) = step.missing([{"name": name, "state": "DELETED"}])
    assert verb == ["iam", "workload-identity-pools", "undelete", "worker-llm"]


def test_a_grant_under_a_condition_is_none() -> None:
    wanted = Wanted(project="my-project", region="europe-west4")
    (step,) = [step for step in steps(wanted, "1") if "run.admin" in step.why]
    member = f"serviceAccount:{wanted.account('llm-deployer')}"
    binding = {"role": "roles/run.admin", "members": [member]}

    assert step.missing({"bindings": [binding]}) == []
    assert step.missing({"bindings": [{**binding, "condition": {"title": "until"}}]}) != []


def kinds() -> set[str]:
    """All types of resources in the module that belong to Google Cloud."""
    made = {address.partition(".")[0] for address in resources()}
    return {kind for kind in made if kind.startswith("google_")}


def test_the_deploy_identity_has_the_roles_that_the_module_needs_and_no_other() -> None:
    made_with = [kind for made in DEPLOYER.values() for kind in made]

    assert {*made_with, *ELSEWHERE} == kinds()
    assert set(made_with) & set(ELSEWHERE) == set()
    assert all(DEPLOYER.values())


def test_the_reference_lists_the_deployers_roles() -> None:
    page = _IAM_PAGE.read_text()
    section = page[page.index("## Who deploys") :]
    listed = {
        role: set(re.findall(r"`(google_\w+)`", made)) for role, made in _LINE.findall(section)
    }

    assert listed == {
        **{role: set(made) for role, made in DEPLOYER.items()},
        **{role: {kind} for kind, role in ELSEWHERE.items()},
    }
