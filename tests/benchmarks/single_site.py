"""The single function at work: its process, and all that is around it."""

import os
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from starlette.types import ASGIApp

from infra.local.emulators.clients import firestore_client
from infra.local.emulators.events import create_app as create_events_app
from infra.local.emulators.events import register_trigger
from infra.local.emulators.finding import Found, find_emulators
from infra.local.emulators.firestore_proxy import FirestoreProxy, firestore_proxy
from infra.local.emulators.relay import Relay, RelayPolicy
from infra.local.emulators.servers import running_emulators
from infra.local.processes.children import ChildProcess, running
from infra.local.processes.functions import BUCKET, LocalAddresses, process_environ
from infra.local.serving.asgi import serve
from infra.local.serving.free_ports import LOOPBACK, free_port
from infra.local.storage.objects import ObjectFolder
from infra.local.storage.server import create_app as create_storage
from shared.adapters.firestore import FirestoreDocuments
from tests.benchmarks.baselines import publish_registry, single_function_command

_NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleSite:
    """Where it is looked at and disturbed."""

    documents: FirestoreDocuments
    folder: ObjectFolder
    #: Its events come as Eventarc's do, again until they are accepted.
    relay: Relay
    #: Its calls of Firestore go through here.
    proxy: FirestoreProxy
    process: ChildProcess


@asynccontextmanager
async def single_site(
    root: Path,
    *,
    gemini: ASGIApp,
    storage_wrapper: Callable[[ASGIApp], ASGIApp],
    policy: RelayPolicy | None = None,
    settings: Mapping[str, str] = _NO_SETTINGS,
) -> AsyncIterator[SingleSite]:
    """Run it on emulators of its own, with more settings, while the block lasts."""
    found = find_emulators(os.environ, Path.home())
    assert isinstance(found, Found), found
    project, folder = f"bench-{uuid.uuid4().hex[:8]}", ObjectFolder(root / "objects")
    folder.create_bucket(BUCKET)
    async with (
        serve(storage_wrapper(create_storage(folder)), name="storage") as storage_url,
        serve(gemini, name="stand-in") as gemini_url,
        Relay(f"http://{LOOPBACK}:0", policy=policy) as relay,
        serve(create_events_app(relay, project=project), name="event server") as events_url,
        running_emulators(
            found,
            log_folder=root,
            environ=os.environ,
            events_address=events_url.removeprefix("http://"),
        ) as emulators,
        firestore_proxy(emulators.firestore_host) as proxy,
    ):
        addresses = LocalAddresses(
            firestore_host=proxy.address,
            pubsub_host=emulators.pubsub_host,
            storage_url=storage_url,
            gemini_url=gemini_url,
        )
        port = free_port()
        environ = {**process_environ(os.environ, project, addresses), **settings}
        relay.target_url = f"http://{LOOPBACK}:{port}"
        async with (
            running(single_function_command(root, port, environ)) as process,
            _documents(emulators.firestore_host, project) as documents,
        ):
            await register_trigger(emulators.firestore_host, project)
            yield SingleSite(
                documents=documents, folder=folder, relay=relay, proxy=proxy, process=process
            )


@asynccontextmanager
async def _documents(emulator_host: str, project: str) -> AsyncIterator[FirestoreDocuments]:
    client: Any = firestore_client(emulator_host, project)
    documents = FirestoreDocuments(client)
    await publish_registry(documents)
    yield documents
    client.close()
