"""Every call that the doctor makes of Google: what it reads, and what the caller must be given.

The reference docs/reference/doctor.md is this table. A test holds each method, its HTTP verb
and the scope against the API's own discovery document.
"""

from dataclasses import dataclass

#: Accepted by every method below, which the read-only scopes are not.
SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_VIEWER, _REVIEWER = "roles/viewer", "roles/iam.securityReviewer"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiCall:
    """One method of an API.

    `method` is its id in the discovery document of `version`. `asks` is the permission that the
    caller needs, where its name does not follow from that of the method. With `posts`, a policy
    is read by POST, which changes nothing.
    """

    method: str
    version: str
    reads: str
    asks: str = ""
    posts: bool = False

    @property
    def service(self) -> str:
        """The API, as its host is called."""
        return self.method.partition(".")[0]

    @property
    def permission(self) -> str:
        """The permission that the caller needs, mostly named after API, resource and verb."""
        return self.asks or ".".join([self.service, *self.method.split(".")[-2:]])

    @property
    def role(self) -> str:
        """A role that has the permission."""
        return _REVIEWER if self.method.endswith(".getIamPolicy") else _VIEWER


BUCKET = ApiCall(method="storage.buckets.get", version="v1", reads="what protects the reports")
BUCKET_POLICY = ApiCall(
    method="storage.buckets.getIamPolicy", version="v1", reads="who reads and writes reports"
)
ACCOUNT_POLICY = ApiCall(
    method="iam.projects.serviceAccounts.getIamPolicy",
    version="v1",
    reads="who signs the tokens of pushes",
    posts=True,
)
DATABASE = ApiCall(
    method="firestore.projects.databases.get",
    version="v1",
    reads="the database's place and kind",
    asks="datastore.databases.getMetadata",
)
FIELD = ApiCall(
    method="firestore.projects.databases.collectionGroups.fields.get",
    version="v1",
    reads="whether documents expire",
    asks="datastore.indexes.get",
)
INDEXES = ApiCall(
    method="firestore.projects.databases.collectionGroups.indexes.list",
    version="v1",
    reads="whether the sweep can ask for due jobs",
    asks="datastore.indexes.list",
)
FUNCTIONS = ApiCall(
    method="cloudfunctions.projects.locations.functions.list",
    version="v2",
    reads="the functions, their settings and the trigger they ask for",
)
INVOKERS = ApiCall(
    method="run.projects.locations.services.getIamPolicy",
    version="v2",
    reads="who may call a function",
)
PROJECT_POLICY = ApiCall(
    method="cloudresourcemanager.projects.getIamPolicy",
    version="v3",
    reads="who reads and writes documents",
    asks="resourcemanager.projects.getIamPolicy",
    posts=True,
)
SCHEDULE = ApiCall(
    method="cloudscheduler.projects.locations.jobs.get",
    version="v1",
    reads="what calls the sweep",
)
SCHEDULE_PLACES = ApiCall(
    method="cloudscheduler.projects.locations.list",
    version="v1",
    reads="where else the schedule may be",
)
SECRET_POLICY = ApiCall(
    method="secretmanager.projects.secrets.getIamPolicy",
    version="v1",
    reads="who reads the key",
)
SECRET_VERSION = ApiCall(
    method="secretmanager.projects.secrets.versions.get",
    version="v1",
    reads="the state of the key's version, never its value",
)
SERVICES = ApiCall(
    method="serviceusage.services.list", version="v1", reads="which APIs are enabled"
)
SUBSCRIPTION = ApiCall(
    method="pubsub.projects.subscriptions.get",
    version="v1",
    reads="how jobs are pushed and dead letters kept",
)
SUBSCRIPTION_POLICY = ApiCall(
    method="pubsub.projects.subscriptions.getIamPolicy",
    version="v1",
    reads="whether Pub/Sub may acknowledge what it forwards",
)
TOPIC = ApiCall(
    method="pubsub.projects.topics.get", version="v1", reads="whether a topic is there"
)
TOPIC_POLICY = ApiCall(
    method="pubsub.projects.topics.getIamPolicy",
    version="v1",
    reads="who publishes jobs and dead letters",
)
TRIGGER = ApiCall(
    method="eventarc.projects.locations.triggers.get",
    version="v1",
    reads="the trigger as Eventarc has it",
)

#: In the order of their methods.
CALLS = tuple(
    sorted(
        (
            ACCOUNT_POLICY,
            BUCKET,
            BUCKET_POLICY,
            DATABASE,
            FIELD,
            FUNCTIONS,
            INDEXES,
            INVOKERS,
            PROJECT_POLICY,
            SCHEDULE,
            SCHEDULE_PLACES,
            SECRET_POLICY,
            SECRET_VERSION,
            SERVICES,
            SUBSCRIPTION,
            SUBSCRIPTION_POLICY,
            TOPIC,
            TOPIC_POLICY,
            TRIGGER,
        ),
        key=lambda call: call.method,
    )
)
