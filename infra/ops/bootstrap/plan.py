"""What must be there before the first apply: steps that look first and do what is missing.

Nothing here runs anything: a step says what to look at, and which commands follow from it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from infra.failures import CannotBeDone
from infra.ops.bootstrap.roles import DEPLOYER, PLANNER

#: A gcloud command without its first word.
Command: TypeAlias = tuple[str, ...]

DEPLOYER_ID, PLANNER_ID = "llm-deployer", "llm-planner"
POOL, PROVIDER = "worker-llm", "github"
#: Stands for the project's number where nothing is looked at.
UNKNOWN_NUMBER = "PROJECT_NUMBER"
_ISSUER = "https://token.actions.githubusercontent.com"
_MAPPING = (
    "google.subject=assertion.sub,"
    "attribute.repository=assertion.repository,"
    "attribute.branch=assertion.repository + '@' + assertion.ref"
)
_MAIN = "refs/heads/main"
#: Services whose agent is only made at their first use, which is too late for a grant.
_AGENTS = ("cloudbuild", "cloudfunctions", "cloudscheduler", "eventarc", "pubsub", "run")
#: The APIs that Terraform itself calls, and those that sign a pipeline in.
_SERVICES = ("cloudresourcemanager", "iam", "iamcredentials", "serviceusage", "storage", "sts")
_PROJECT = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")
_REGION = re.compile(r"[a-z]+-[a-z]+[0-9]+")
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+")


class BootstrapRefused(CannotBeDone):
    """The project cannot be prepared so; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to prepare: a project, its region, and the repository that deploys it, if one does.

    Raises:
        BootstrapRefused: one of them is not what it should be.
    """

    project: str
    region: str
    github: str | None = None

    def __post_init__(self) -> None:
        for name, pattern, value in (
            ("--project must be a project's id", _PROJECT, self.project),
            ("--region must be a single region such as europe-west4", _REGION, self.region),
            ("--github must be OWNER/REPOSITORY", _REPOSITORY, self.github or "owner/name"),
        ):
            if not pattern.fullmatch(value):
                raise BootstrapRefused(f"{name}, not {value!r}")

    @property
    def bucket(self) -> str:
        """The bucket of Terraform's state."""
        return f"{self.project}-terraform-state"

    def account(self, account_id: str) -> str:
        """The address of a service account of the project."""
        return f"{account_id}@{self.project}.iam.gserviceaccount.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """One thing that must be there.

    `look` is the command that shows it as JSON, None where Google has none that only looks.
    `missing` gives the commands that are needed, by what `look` showed; none if all is there.
    """

    why: str
    look: Command | None
    missing: Callable[[Any], Sequence[Command]]


def steps(wanted: Wanted, number: str) -> Sequence[Preparation]:
    """All steps in their order: each needs those before it."""
    return [
        *_of_project(wanted),
        *_of_identity(wanted, DEPLOYER_ID, "deploys", tuple(DEPLOYER)),
        *(_of_github(wanted, number) if wanted.github else ()),
    ]


def number_command(wanted: Wanted) -> Command:
    """Shows the project, with its number."""
    return ("projects", "describe", wanted.project)


def pool_name(number: str) -> str:
    """The resource name of the pool."""
    return f"projects/{number}/locations/global/workloadIdentityPools/{POOL}"


def _of_project(wanted: Wanted) -> Sequence[Preparation]:
    project = ("--project", wanted.project)
    services = [f"{name}.googleapis.com" for name in sorted({*_SERVICES, *_AGENTS})]
    bucket = f"gs://{wanted.bucket}"
    buckets = ("storage", "buckets", "list", *project, f"--filter=name={wanted.bucket}")
    create = (
        *("storage", "buckets", "create", bucket, *project, "--location", wanted.region),
        "--uniform-bucket-level-access",
        "--public-access-prevention",
    )
    version = ("storage", "buckets", "update", bucket, "--versioning")
    return [
        Preparation(
            why="The services that Terraform calls before it can enable any",
            look=("services", "list", "--enabled", *project),
            missing=partial(_services, ("services", "enable", *services, *project), services),
        ),
        Preparation(
            why="A bucket for the state", look=buckets, missing=partial(_unless_any, create)
        ),
        Preparation(
            why="Earlier states are kept",
            look=buckets,
            missing=partial(_unless_field, version, "versioning_enabled"),
        ),
        *(
            Preparation(
                why=f"The agent of {name}, which is the same one every time",
                look=None,
                missing=partial(
                    _always,
                    (
                        *("beta", "services", "identity", "create"),
                        *("--service", f"{name}.googleapis.com", *project),
                    ),
                ),
            )
            for name in _AGENTS
        ),
    ]


def _of_identity(
    wanted: Wanted, account_id: str, does: str, roles: Sequence[str]
) -> Sequence[Preparation]:
    """An account without a key, and its roles on the project."""
    project, email = ("--project", wanted.project), wanted.account(account_id)
    create = ("iam", "service-accounts", "create", account_id, *project)
    member = f"serviceAccount:{email}"
    policy = ("projects", "get-iam-policy", wanted.project)
    return [
        Preparation(
            why=f"The identity that {does}, without a key",
            look=("iam", "service-accounts", "list", *project, f"--filter=email={email}"),
            missing=partial(_unless_any, (*create, "--display-name", f"LLM worker: {does}")),
        ),
        *(
            Preparation(
                why=f"It {does}: {role}",
                look=policy,
                missing=partial(
                    _unless_bound, ("projects", "add-iam-policy-binding", wanted.project),
                    role, member,
                ),
            )
            for role in roles
        ),
    ]  # fmt: skip


def _of_github(wanted: Wanted, number: str) -> Sequence[Preparation]:
    """The repository's main branch deploys, and whatever branch of it plans."""
    pool, repository = pool_name(number), wanted.github or ""
    everywhere = ("--project", wanted.project, "--location", "global")
    pools, providers = ("iam", "workload-identity-pools"), "providers"
    within = (*everywhere, "--workload-identity-pool", POOL)
    state = ("storage", "buckets")
    planner = f"serviceAccount:{wanted.account(PLANNER_ID)}"
    return [
        *_of_identity(wanted, PLANNER_ID, "plans", PLANNER),
        Preparation(
            why="It plans: reads the state",
            look=(*state, "get-iam-policy", f"gs://{wanted.bucket}"),
            missing=partial(
                _unless_bound,
                (*state, "add-iam-policy-binding", f"gs://{wanted.bucket}"),
                "roles/storage.objectViewer",
                planner,
            ),
        ),
        Preparation(
            why="Identities from outside sign in here",
            look=(*pools, "list", *everywhere, "--show-deleted"),
            missing=partial(_pool, everywhere, pool),
        ),
        Preparation(
            why=f"GitHub's are taken, from {repository} alone",
            look=(*pools, providers, "list", *within, "--show-deleted"),
            missing=partial(_provider, within, f"{pool}/providers/{PROVIDER}", repository),
        ),
        *(
            Preparation(
                why=why,
                look=("iam", "service-accounts", "get-iam-policy", email, *everywhere[:2]),
                missing=partial(
                    _unless_bound,
                    (
                        *("iam", "service-accounts", "add-iam-policy-binding", email),
                        *everywhere[:2],
                    ),
                    "roles/iam.workloadIdentityUser",
                    f"principalSet://iam.googleapis.com/{pool}/{who}",
                ),
            )
            for why, email, who in (
                (
                    "Its main branch may deploy",
                    wanted.account(DEPLOYER_ID),
                    f"attribute.branch/{repository}@{_MAIN}",
                ),
                (
                    "Any branch of it may plan",
                    wanted.account(PLANNER_ID),
                    f"attribute.repository/{repository}",
                ),
            )
        ),
    ]


def _always(command: Command, _seen: object) -> Sequence[Command]:
    return [command]


def _unless_any(command: Command, seen: Sequence[object] | None) -> Sequence[Command]:
    return [] if seen else [command]


def _unless_field(
    command: Command, name: str, seen: Sequence[Mapping[str, Any]] | None
) -> Sequence[Command]:
    return [] if seen and seen[0].get(name) else [command]


def _services(
    command: Command, names: Sequence[str], seen: Sequence[Mapping[str, Any]] | None
) -> Sequence[Command]:
    enabled = {one.get("config", {}).get("name") for one in seen or ()}
    return [] if enabled.issuperset(names) else [command]


def _unless_bound(
    command: Command, role: str, member: str, seen: Mapping[str, Any] | None
) -> Sequence[Command]:
    for binding in (seen or {}).get("bindings", ()):
        bound = binding["role"] == role and member in binding["members"]
        if bound and not binding.get("condition"):
            return []
    condition = ("--condition", "None") if "buckets" not in command else ()
    return [(*command, "--member", member, "--role", role, *condition)]


def _pool(
    everywhere: Command, name: str, seen: Sequence[Mapping[str, Any]] | None
) -> Sequence[Command]:
    """What makes the pool. A deleted one keeps its name for 30 days, so it is undeleted."""
    found = _named(name, seen)
    verb = ("iam", "workload-identity-pools")
    if found is None:
        return [(*verb, "create", POOL, *everywhere, "--display-name", "LLM worker")]
    deleted = found.get("state") == "DELETED"
    return [(*verb, "undelete", POOL, *everywhere)] if deleted else []


def _provider(
    within: Command, name: str, repository: str, seen: Sequence[Mapping[str, Any]] | None
) -> Sequence[Command]:
    found = _named(name, seen)
    verb = ("iam", "workload-identity-pools", "providers")
    condition = f"assertion.repository == '{repository}'"
    if found is None:
        return [
            (
                *(*verb, "create-oidc", PROVIDER, *within, "--issuer-uri", _ISSUER),
                *("--attribute-mapping", _MAPPING, "--attribute-condition", condition),
            )
        ]
    if found.get("attributeCondition") != condition:
        raise BootstrapRefused(
            f"the provider {name} takes identities where {found.get('attributeCondition')!r}, "
            f"and not of {repository}: delete it first, if that is what you want"
        )
    deleted = found.get("state") == "DELETED"
    return [(*verb, "undelete", PROVIDER, *within)] if deleted else []


def _named(name: str, seen: Sequence[Mapping[str, Any]] | None) -> Mapping[str, Any] | None:
    return next((one for one in seen or () if one["name"] == name), None)
