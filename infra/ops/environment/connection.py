"""The way to an environment: the running local one, or a real project with one's own rights.

Every command, and the console, reaches documents, queries and objects through here.
"""

import functools
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from google.cloud.firestore_v1.async_client import AsyncClient

from executor.ports import ObjectStore
from infra.failures import CannotBeDone
from infra.local.embedded.documents import EmbeddedDocuments
from infra.local.embedded.objects import EmbeddedObjects
from infra.local.emulators.clients import FIRESTORE_VARIABLE, firestore_client
from infra.local.plan import LocalEnvironment
from infra.local.state_file import EnvironmentState, read_state
from infra.local.storage.objects import ObjectFolder
from infra.ops.cli.options import DEFAULT_DATABASE, Where
from infra.ops.environment.author import author_of
from infra.ops.environment.listing import EmbeddedRunListing, FirestoreRunListing, RunListing
from shared.adapters.firestore import FirestoreDocuments
from shared.ports import DocumentStore
from shared.settings import Collections, EnvironmentReader, read_collections

_PROJECT_VARIABLE = "GCP_PROJECT"


class NotConnected(CannotBeDone):
    """There is no environment to reach; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A reachable environment."""

    #: What to call it, such as `local-1a2b3c4d (emulators)`.
    name: str
    project: str
    database: str
    #: The collection of the runs.
    flow_runs: str
    #: All collections that the environment's documents are in.
    collections: Collections = field(default_factory=Collections)
    documents: DocumentStore
    runs: RunListing
    #: Makes the object store when it is first needed: its client takes a while to load.
    objects: Callable[[], ObjectStore]
    #: The local environment; None for a real project.
    local: EnvironmentState | None
    #: What named the environment, such as `--project`, where it was not asked for by name.
    named_by: str = ""

    @property
    def described(self) -> str:
        """The environment in a question: what it is, and why it is this one."""
        kind = "" if self.local else ", a real project"
        return f"{self.name}{kind}{self.named_by}"

    def author(self, given: str | None) -> str:
        """Who acts here, see `author_of`."""
        is_local = self.local is not None or FIRESTORE_VARIABLE in os.environ
        return author_of(given, local=is_local)


@asynccontextmanager
async def connect(
    where: Where, environ: Mapping[str, str] = os.environ
) -> AsyncIterator[Connection]:
    """Reach the environment for as long as the block lasts.

    Without `--project` and `--local` it is the project that GCP_PROJECT names, or else the
    local environment.

    Raises:
        NotConnected: there is none, or its documents are in another process.
    """
    project = where.project or environ.get(_PROJECT_VARIABLE)
    if where.local and where.project:
        raise NotConnected("--local and --project exclude each other: give one of them")
    local = None if project and not where.local else _running(where.data_dir)
    collections = Collections() if local else _collections(environ)
    client = _local_client(local) if local else _project_client(str(project), where.database)
    try:
        yield Connection(
            name=f"{local.project} ({local.backend})" if local else str(project),
            project=local.project if local else str(project),
            database=DEFAULT_DATABASE if local else where.database,
            flow_runs=collections.flow_runs,
            collections=collections,
            documents=FirestoreDocuments(client),
            runs=FirestoreRunListing(client),
            objects=functools.cache(lambda: _objects(local, str(project))),
            local=local,
            named_by="" if local or where.project else f", named by {_PROJECT_VARIABLE}",
        )
    finally:
        client.close()  # type: ignore[no-untyped-call]


@asynccontextmanager
async def connection_to(
    environment: LocalEnvironment, state: EnvironmentState
) -> AsyncIterator[Connection]:
    """Reach the local environment that runs in this very process."""
    documents = environment.documents
    if not isinstance(documents, EmbeddedDocuments):
        folder = state.log_folder.parent
        async with connect(Where(local=True, data_dir=folder)) as connection:
            yield connection
        return
    yield Connection(
        name=f"{state.project} ({state.backend})",
        project=state.project,
        database=DEFAULT_DATABASE,
        flow_runs=Collections().flow_runs,
        documents=documents,
        runs=EmbeddedRunListing(documents),
        objects=functools.cache(lambda: _objects(state, state.project)),
        local=state,
    )


def _collections(environ: Mapping[str, str]) -> Collections:
    """The collections that the environment names.

    Raises:
        SettingsInvalid: a name is none.
    """
    reader = EnvironmentReader(environ)
    collections = read_collections(reader)
    reader.finish()
    return collections


def _running(data_dir: Path) -> EnvironmentState:
    state = read_state(data_dir)
    if state is None:
        raise NotConnected(
            f"no local environment is up in {data_dir}: start one with `worker-llm up`, "
            "or name a real project with --project"
        )
    return state


def _local_client(local: EnvironmentState) -> AsyncClient:
    if local.firestore_host is None:
        console = local.urls.get("console")
        raise NotConnected(
            "the local environment runs embedded, so its documents are in its own process: "
            + (f"use its console at {console}, or " if console else "")
            + "start it with the emulators (`worker-llm up --emulators`) to use this command"
        )
    return firestore_client(local.firestore_host, local.project)


def _project_client(project: str, database: str) -> AsyncClient:
    from google.auth.exceptions import DefaultCredentialsError  # noqa: PLC0415 - only here

    try:
        return AsyncClient(project=project, database=database)
    except DefaultCredentialsError:
        raise NotConnected(
            "there are no credentials: sign in with `gcloud auth application-default login`"
        ) from None


def _objects(local: EnvironmentState | None, project: str) -> ObjectStore:
    if local is not None:
        return EmbeddedObjects(ObjectFolder(local.object_folder))
    # Late, as it takes a quarter of a second to load.
    from executor.adapters.gcs import GcsObjects, storage_client  # noqa: PLC0415

    return GcsObjects(storage_client(project))
