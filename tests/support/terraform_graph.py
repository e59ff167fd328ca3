"""The graph of `terraform graph`, and what in it would fail at a first apply.

Google Cloud answers before it has done what was asked: an enabled API, a new account, a grant
and a metric each take their time until others can use them. In the graph that is a path that
does not lead through a wait.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

_EDGE = re.compile(r'^ +"([^"]+)" -> "([^"]+)";$', re.MULTILINE)
_NODE = re.compile(r'^ +"([^"]+)" \[label=', re.MULTILINE)
_API = "google_project_service."
_WAIT = "time_sleep."
_METRIC = "google_logging_metric."
_FUNCTION = "google_cloudfunctions2_function."
_AGENT = "google_project_service_identity."
_IDENTITIES = ("google_service_account.", _AGENT)
_KEY_GRANT = "google_kms_crypto_key_iam_member."
#: What a key of one's own can encrypt.
_STORES = (
    "google_artifact_registry_repository.",
    "google_eventarc_google_channel_config.",
    "google_firestore_database.",
    "google_logging_project_bucket_config.",
    "google_pubsub_topic.",
    "google_secret_manager_secret.",
    "google_storage_bucket.",
)
_GRANT = re.compile(r"_iam_(member|binding)\.")
#: Grants to people: unlike the module's accounts, nothing has to be made before them.
_TO_PEOPLE = re.compile(r"_iam_member\.(operators|rotators)_")


class Kind(StrEnum):
    """The four ways in which a first apply fails although everything in it is right."""

    CREATED_IS_NOT_VISIBLE = "created is not visible"
    GRANTED_IS_NOT_ENFORCED = "granted is not enforced"
    NAMED_IS_NOT_MADE = "named is not made"
    ENABLED_IS_NOT_READY = "enabled is not ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A resource that can be reached too early, and what it needs first."""

    kind: Kind
    resource: str
    needs: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Address of a resource -> the addresses that it depends on directly."""

    edges: Mapping[str, frozenset[str]]

    def reach(self, start: str) -> frozenset[str]:
        """All that is made before it."""
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            for node in self.edges[ahead.pop()] - seen:
                seen.add(node)
                ahead.append(node)
        return frozenset(seen)

    def behind_a_wait(self, start: str) -> frozenset[str]:
        """All that is made, and waited for, before it."""
        waits = [node for node in self.reach(start) if node.startswith(_WAIT)]
        return frozenset().union(*map(self.reach, waits))

    def resources(self, prefix: str | tuple[str, ...] = "google_") -> list[str]:
        """What Terraform makes, without data sources."""
        return sorted(node for node in self.edges if node.startswith(prefix))


def parsed(dot: str) -> Graph:
    """The graph, with the addresses as the module itself has them."""
    plain = dot.replace('"module.worker.', '"')
    edges: dict[str, set[str]] = {name: set() for name in _NODE.findall(plain)}
    for start, end in _EDGE.findall(plain):
        edges.setdefault(start, set()).add(end)
        edges.setdefault(end, set())
    return Graph(edges={name: frozenset(ends) for name, ends in edges.items()})


def findings(graph: Graph) -> list[Finding]:
    """What could be refused at a first apply, by kind."""
    return [
        *_not_visible(graph),
        *_not_enforced(graph),
        *_not_made(graph),
        *_not_ready(graph),
    ]


def _not_visible(graph: Graph) -> Iterator[Finding]:
    for resource in graph.resources("google_monitoring_"):
        metrics = {node for node in graph.reach(resource) if node.startswith(_METRIC)}
        dashboard = resource.startswith("google_monitoring_dashboard.")
        if not dashboard and metrics - graph.behind_a_wait(resource):
            yield _found(Kind.CREATED_IS_NOT_VISIBLE, resource, "a wait after the metrics")
    for grant in _grants(graph):
        named = {node for node in graph.reach(grant) if node.startswith(_IDENTITIES)}
        if named - graph.behind_a_wait(grant):
            yield _found(Kind.CREATED_IS_NOT_VISIBLE, grant, "a wait after the identities")


def _not_enforced(graph: Graph) -> Iterator[Finding]:
    functions = graph.resources(_FUNCTION)
    before = {
        grant
        for grant in _grants(graph)
        if not any(node.startswith(_FUNCTION) for node in graph.reach(grant))
    }
    for function in functions:
        for grant in sorted(before - graph.behind_a_wait(function)):
            yield _found(Kind.GRANTED_IS_NOT_ENFORCED, function, f"a wait after {grant}")
    for store in graph.resources(_STORES):
        if not any(node.startswith(_KEY_GRANT) for node in graph.behind_a_wait(store)):
            yield _found(Kind.GRANTED_IS_NOT_ENFORCED, store, "a wait after the key's grants")


def _not_made(graph: Graph) -> Iterator[Finding]:
    for grant in _grants(graph):
        if not any(node.startswith(_IDENTITIES) for node in graph.reach(grant)):
            yield _found(Kind.NAMED_IS_NOT_MADE, grant, "the identity as a resource")
    for resource in graph.resources(_FUNCTION):
        if not any(node.startswith(_AGENT) for node in graph.reach(resource)):
            yield _found(Kind.NAMED_IS_NOT_MADE, resource, "the service agents")


def _not_ready(graph: Graph) -> Iterator[Finding]:
    for resource in graph.resources():
        if resource.startswith(_API):
            continue
        if not any(node.startswith(_API) for node in graph.behind_a_wait(resource)):
            yield _found(Kind.ENABLED_IS_NOT_READY, resource, "a wait after its API")


def _grants(graph: Graph) -> list[str]:
    return [
        node
        for node in graph.resources()
        if _GRANT.search(node) and not _TO_PEOPLE.search(node)
    ]


def _found(kind: Kind, resource: str, needs: str) -> Finding:
    return Finding(kind=kind, resource=resource, needs=needs)
