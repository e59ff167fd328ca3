"""Whether every identity has what its calls need: docs/reference/iam.md, looked up."""

from collections.abc import Iterator

from infra.local.emulators.pubsub import PUSH_SUBSCRIPTION
from infra.local.processes.functions import DEAD_LETTER_TOPIC, JOBS_TOPIC
from infra.ops.doctor.facts import (
    DISPATCHER,
    EXECUTOR,
    NOTIFY,
    PROJECT_GRANTS,
    PUSH_ACCOUNT,
    SWEEP,
    CheckResult,
    Cloud,
    Grant,
    Observed,
)

#: Custom roles as Terraform calls them (infra/terraform/modules/worker/iam_functions.tf).
_DOCUMENTS, _QUERIES, _MODEL = "llmWorkerDocuments", "llmWorkerQueries", "llmWorkerModel"
_PUBLISHER = "roles/pubsub.publisher"


def grant_findings(observed: Observed) -> Iterator[CheckResult]:
    """Grants that are missing."""
    cloud = observed.cloud
    if cloud is None:
        return
    for grant, problem in _wanted(observed, cloud):
        project_wide = Grant(on=PROJECT_GRANTS, role=grant.role, member=grant.member)
        if grant not in cloud.grants and project_wide not in cloud.grants:
            yield CheckResult(subject=grant.on, problem=problem, remedy=observed.apply)


def _wanted(observed: Observed, cloud: Cloud) -> Iterator[tuple[Grant, str]]:
    present = [name for name in (DISPATCHER, EXECUTOR, SWEEP) if name in observed.functions]
    for name in present:
        role = f"projects/{observed.project}/roles/{_DOCUMENTS}"
        member = _member(observed, name)
        yield (
            Grant(on=PROJECT_GRANTS, role=role, member=member),
            f"{name} may neither read nor write documents",
        )
    if SWEEP in present:
        role = f"projects/{observed.project}/roles/{_QUERIES}"
        yield (
            Grant(on=PROJECT_GRANTS, role=role, member=_member(observed, SWEEP)),
            f"{SWEEP} may not look for what is stuck",
        )
    if DISPATCHER in present:
        receiver = "roles/eventarc.eventReceiver"
        yield (
            Grant(on=PROJECT_GRANTS, role=receiver, member=_member(observed, DISPATCHER)),
            f"{DISPATCHER} may not receive events",
        )
    if JOBS_TOPIC in observed.topics:
        for name in (DISPATCHER, SWEEP, NOTIFY):
            if name in observed.functions:
                yield (
                    Grant(on=JOBS_TOPIC, role=_PUBLISHER, member=_member(observed, name)),
                    f"{name} may not publish to it",
                )
    yield from _of_secrets(observed)
    if EXECUTOR in present:
        yield from _of_executor(observed)
    if cloud.number:
        yield from _of_agent(observed, cloud)


def _of_executor(observed: Observed) -> Iterator[tuple[Grant, str]]:
    executor, member = observed.functions[EXECUTOR], _member(observed, EXECUTOR)
    if DEAD_LETTER_TOPIC in observed.topics:
        yield (
            Grant(on=DEAD_LETTER_TOPIC, role=_PUBLISHER, member=member),
            f"{EXECUTOR} may not set messages aside in it",
        )
    for name, bucket in observed.buckets.items():
        for role, act in (("objectCreator", "create"), ("objectViewer", "read")):
            if bucket is not None:
                yield (
                    Grant(on=f"gs://{name}", role=f"roles/storage.{role}", member=member),
                    f"{EXECUTOR} may not {act} objects",
                )
    if executor.environ.get("GEMINI_BACKEND") == "vertex":
        role = f"projects/{observed.project}/roles/{_MODEL}"
        yield (
            Grant(on=PROJECT_GRANTS, role=role, member=member),
            f"{EXECUTOR} may not call the model",
        )


def _of_secrets(observed: Observed) -> Iterator[tuple[Grant, str]]:
    accessor = "roles/secretmanager.secretAccessor"
    for name, function in observed.functions.items():
        for version in (function.key, function.hook_secret):
            if version is not None and version.state is not None:
                yield (
                    Grant(on=version.secret, role=accessor, member=_member(observed, name)),
                    f"{name} may not read it, and does not start",
                )


def _of_agent(observed: Observed, cloud: Cloud) -> Iterator[tuple[Grant, str]]:
    agent = f"serviceAccount:service-{cloud.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
    if DEAD_LETTER_TOPIC in observed.topics:
        yield (
            Grant(on=DEAD_LETTER_TOPIC, role=_PUBLISHER, member=agent),
            "Pub/Sub may not forward dead letters to it",
        )
    if PUSH_SUBSCRIPTION in observed.subscriptions:
        yield (
            Grant(on=PUSH_SUBSCRIPTION, role="roles/pubsub.subscriber", member=agent),
            "Pub/Sub may not acknowledge what it forwards, and counts no deliveries",
        )
        creator = "roles/iam.serviceAccountTokenCreator"
        yield (
            Grant(on=PUSH_ACCOUNT, role=creator, member=agent),
            "Pub/Sub may not sign the tokens of its pushes: the executor answers 403",
        )


def _member(observed: Observed, account_id: str) -> str:
    return f"serviceAccount:{account_id}@{observed.project}.iam.gserviceaccount.com"
