"""The single function on the emulators, as a contestant."""

import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.local.cloud_events import CloudEventMessage
from infra.local.emulator_clients import firestore_client
from infra.local.emulator_events import create_app as create_events_app
from infra.local.emulator_events import register_trigger
from infra.local.emulator_servers import running_emulators
from infra.local.emulators import Found, find_emulators
from infra.local.firestore_proxy import FirestoreProxy, firestore_proxy
from infra.local.gemini import create_app as create_gemini
from infra.local.local_functions import (
    BUCKET,
    LocalAddresses,
    process_environ,
)
from infra.local.objects import ObjectFolder
from infra.local.ports import LOOPBACK, free_port
from infra.local.processes import ChildProcess, running
from infra.local.relay import Relay, RelayPolicy
from infra.local.scenario.single import single_report_run
from infra.local.serve import serve
from infra.local.storage import create_app as create_storage
from shared.adapters.firestore import FirestoreDocuments
from shared.domain.documents import Create, DocumentRef
from shared.ports import DocumentStore
from tests.benchmarks.baselines import publish_registry, single_function_command
from tests.benchmarks.rivals.events import recorded
from tests.benchmarks.rivals.faults import Outcome
from tests.benchmarks.rivals.gate import Gate

_STEP = "report_0"
_SECONDS = 60.0
_LATENCY_SECONDS = 0.2
#: A killed instance had more in its hands than the relay's own measure.
_WIDE = RelayPolicy(concurrency=32)


@dataclass(slots=True, kw_only=True)
class SingleFunction:
    """One step a run; its events come as Eventarc's do, again until they are accepted."""

    gate: Gate
    relay: Relay
    proxy: FirestoreProxy
    process: ChildProcess
    documents: DocumentStore
    folder: ObjectFolder
    events: Sequence[CloudEventMessage]

    async def deliver(self, steps: Sequence[str], *, copies: int) -> None:
        """Create the runs."""
        self.relay.disturbance.duplicate = float(copies > 1)
        for run_id in steps:
            run, objects = single_report_run(bucket=BUCKET, run_id=run_id, step_id=_STEP)
            for item in objects:
                self.folder.write(item.bucket, item.name, item.data)
            create = Create(ref=DocumentRef("flow_runs", run_id), data=run)
            await self.documents.commit([create], timeout_seconds=_SECONDS)

    async def deliver_again(self, steps: Sequence[str]) -> None:
        """Give the relay all its events again."""
        del steps
        for event in list(self.events):
            self.relay.submit(event)
        await self.relay.idle()

    async def kill(self) -> None:
        """Kill the function and start it again."""
        await self.process.kill()
        await self.process.start()

    async def outcomes(self, steps: Sequence[str]) -> Mapping[str, Outcome]:
        """What the runs' documents say."""
        refs = [DocumentRef("flow_runs", run_id) for run_id in steps]
        found = await self.documents.read(refs, timeout_seconds=_SECONDS)
        return {
            run_id: _outcome(document.data["steps"][_STEP]["status"])
            for run_id, document in zip(steps, found, strict=True)
            if document
        }

    async def operations(self) -> int:
        """Firestore calls."""
        return self.proxy.total_calls


def _outcome(status: str) -> Outcome:
    return Outcome(status.lower()) if status in {"SUCCEEDED", "FAILED"} else Outcome.OPEN


@asynccontextmanager
async def single_function() -> AsyncIterator[SingleFunction]:
    """The function with all that is around it."""
    found = find_emulators(os.environ, Path.home())
    assert isinstance(found, Found), found
    project, gate = f"bench-{uuid.uuid4().hex[:8]}", Gate()
    gemini = create_gemini(latency_seconds=_LATENCY_SECONDS)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        folder = ObjectFolder(root / "objects")
        folder.create_bucket(BUCKET)
        async with (
            serve(gate.storage(create_storage(folder)), name="storage") as storage_url,
            serve(gate.model(gemini), name="stand-in") as gemini_url,
            Relay(f"http://{LOOPBACK}:0", policy=_WIDE) as relay,
            serve(create_events_app(relay, project=project), name="events") as events_url,
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
            threads = {"THREADS": str(_WIDE.concurrency)}
            environ = process_environ(os.environ, project, addresses) | threads
            relay.target_url = f"http://{LOOPBACK}:{port}"
            async with running(single_function_command(root, port, environ)) as process:
                await register_trigger(emulators.firestore_host, project)
                client: Any = firestore_client(emulators.firestore_host, project)
                documents = FirestoreDocuments(client)
                await publish_registry(documents)
                yield SingleFunction(
                    gate=gate,
                    relay=relay,
                    proxy=proxy,
                    process=process,
                    documents=documents,
                    folder=folder,
                    events=recorded(relay),
                )
                client.close()
