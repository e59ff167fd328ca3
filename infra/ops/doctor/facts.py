"""What the doctor looks at, read from a project or from the local environment alike."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from executor.billing.day import COLLECTION as SPENDING
from shared.domain.job_documents import COLLECTION as JOBS

#: Collections that Terraform has expire, by `expireAt`.
EXPIRING = (JOBS, SPENDING)
#: What the index of due jobs is called among the findings.
DUE_JOBS_INDEX = f"the index of {JOBS}"
#: Names as Terraform gives them (infra/terraform/modules/worker).
DISPATCHER, EXECUTOR, SWEEP = "llm-dispatcher", "llm-executor", "llm-sweep"
FUNCTIONS = (DISPATCHER, EXECUTOR, SWEEP)
#: Deployed only where the provider announces the ends of calls.
NOTIFY = "llm-notify"
SCHEDULER_JOB = "llm-sweep"
PUSH_ACCOUNT = "llm-push"
#: What the roles on the project as a whole are called among the findings.
PROJECT_GRANTS = "project"


class CheckLevel(StrEnum):
    """How bad a finding is."""

    PROBLEM = "problem"  #: Steps fail, hang or are unprotected until it is mended.
    WARNING = "warning"  #: They will, some day.


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """Something that is not as it should be, and the command that mends it."""

    subject: str
    problem: str
    remedy: str
    level: CheckLevel = CheckLevel.PROBLEM

    def as_json(self) -> dict[str, str]:
        """The finding as `--json` prints it."""
        return {
            "level": self.level,
            "subject": self.subject,
            "problem": self.problem,
            "remedy": self.remedy,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """What makes a function run."""

    region: str
    event_type: str
    #: Attribute -> value.
    filters: Mapping[str, str]
    retried: bool
    #: Who delivers its events.
    account: str
    #: What Eventarc says of it; None where it has no such trigger.
    state: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretVersion:
    """A version of a secret that a function is given; `state` is None if there is none."""

    secret: str
    version: str
    state: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A deployed function, or a local process in its place.

    `invokers` is None where nothing keeps callers out, as in the local environment.
    """

    name: str
    #: Empty for a local process.
    region: str
    url: str
    #: What the platform says is wrong with the function; empty where nothing is.
    trouble: str
    timeout_seconds: int
    environ: Mapping[str, str]
    key: SecretVersion | None = None
    #: The executor's share of what signs the addresses of hooks.
    hook_secret: SecretVersion | None = None
    invokers: frozenset[str] | None = None
    trigger: Trigger | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    """A subscription; `push_url` is empty where messages are pulled, or pushing is paused."""

    #: Without the project, as the names of topics here are.
    topic: str
    push_url: str
    push_account: str | None
    #: The audience of its tokens; the executor refuses tokens for another one.
    push_audience: str | None
    ack_deadline_seconds: int
    dead_letter_topic: str | None
    max_deliveries: int | None
    active: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """What protects the objects in a bucket."""

    location: str
    uniform_access: bool
    public_access_prevented: bool
    versioned: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NotRead:
    """Why something could not be read, and what the caller lacks, as far as Google said."""

    reason: str
    #: Who lacks which role.
    member: str = ""
    role: str = ""
    #: The API that is not enabled.
    disabled: str = ""
    #: The scope that the credentials lack.
    scope: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Somebody's role on a resource."""

    on: str
    role: str
    member: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """What only a real project has."""

    #: Empty where it could not be read, as `services` is.
    number: str
    services: frozenset[str]
    #: None where there is no such database.
    database_location: str | None
    database_type: str | None
    #: Collections whose documents a TTL policy deletes.
    expiring: frozenset[str]
    #: Whether the index by which the sweep finds due jobs is there and ready.
    due_jobs_indexed: bool
    grants: frozenset[Grant]
    #: None where there is no such job; otherwise whether it is enabled.
    sweep_scheduled: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """An environment as it was found."""

    project: str
    #: None for the local environment.
    cloud: Cloud | None
    functions: Mapping[str, Function]
    topics: frozenset[str]
    subscriptions: Mapping[str, Subscription]
    #: By name; None where there is no such bucket.
    buckets: Mapping[str, Bucket | None]
    #: Subject -> why it could not be read; nothing is said about it then.
    unreadable: Mapping[str, NotRead] = field(default_factory=dict)

    @property
    def apply(self) -> str:
        """The command that makes everything as it is written."""
        if self.cloud is None:
            return "end `worker-llm up` and start it again"
        environment = next(
            (
                f.environ["ENVIRONMENT"]
                for f in self.functions.values()
                if "ENVIRONMENT" in f.environ
            ),
            "ENVIRONMENT",
        )
        return f"terraform -chdir=infra/terraform/environments/{environment} apply"
