"""The single function on the emulators, as a contestant."""

import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.local.cloud.cloud_events import CloudEventMessage
from infra.local.emulators.relay import RelayPolicy
from infra.local.gemini import create_app as create_gemini
from infra.local.processes.functions import (
    BUCKET,
)
from infra.local.scenario.single import single_report_run
from shared.domain.documents import Create, DocumentRef
from tests.benchmarks.rivals.events import recorded
from tests.benchmarks.rivals.faults import Outcome
from tests.benchmarks.rivals.gate import Gate
from tests.benchmarks.single_site import SingleSite, single_site

_STEP = "report_0"
_SECONDS = 60.0
_LATENCY_SECONDS = 0.2
#: A killed instance had more in its hands than the relay's own measure.
_WIDE = RelayPolicy(concurrency=32)


@dataclass(slots=True, kw_only=True)
class SingleFunction:
    """One step a run."""

    gate: Gate
    site: SingleSite
    events: Sequence[CloudEventMessage]

    async def deliver(self, steps: Sequence[str], *, copies: int) -> None:
        """Create the runs."""
        self.site.relay.disturbance.duplicate = float(copies > 1)
        for run_id in steps:
            run, objects = single_report_run(bucket=BUCKET, run_id=run_id, step_id=_STEP)
            for item in objects:
                self.site.folder.write(item.bucket, item.name, item.data)
            create = Create(ref=DocumentRef("flow_runs", run_id), data=run)
            await self.site.documents.commit([create], timeout_seconds=_SECONDS)

    async def deliver_again(self, steps: Sequence[str]) -> None:
        """Give the relay all its events again."""
        del steps
        for event in list(self.events):
            self.site.relay.submit(event)
        await self.site.relay.idle()

    async def kill(self) -> None:
        """Kill the function and start it again."""
        await self.site.process.kill()
        await self.site.process.start()

    async def outcomes(self, steps: Sequence[str]) -> Mapping[str, Outcome]:
        """What the runs' documents say."""
        refs = [DocumentRef("flow_runs", run_id) for run_id in steps]
        found = await self.site.documents.read(refs, timeout_seconds=_SECONDS)
        return {
            run_id: _outcome(document.data["steps"][_STEP]["status"])
            for run_id, document in zip(steps, found, strict=True)
            if document
        }

    async def operations(self) -> int:
        """Firestore calls."""
        return self.site.proxy.total_calls


def _outcome(status: str) -> Outcome:
    return Outcome(status.lower()) if status in {"SUCCEEDED", "FAILED"} else Outcome.OPEN


@asynccontextmanager
async def single_function() -> AsyncIterator[SingleFunction]:
    """The function with all that is around it."""
    gate = Gate()
    gemini = gate.model(create_gemini(latency_seconds=_LATENCY_SECONDS))
    with tempfile.TemporaryDirectory() as root:
        async with single_site(
            Path(root),
            gemini=gemini,
            storage_wrapper=gate.storage,
            policy=_WIDE,
            settings={"THREADS": str(_WIDE.concurrency)},
        ) as site:
            yield SingleFunction(gate=gate, site=site, events=recorded(site.relay))
