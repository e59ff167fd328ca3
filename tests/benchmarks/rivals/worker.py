"""This worker on the emulators, with dispatcher, executor and sweep, as a contestant."""

import random
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from infra.local.cloud.cloud_events import CloudEventMessage
from infra.local.embedded.queue import QueuedMessage, push_body
from infra.local.serving.free_ports import LOOPBACK
from shared.domain.identifiers import RunId, StepId
from shared.domain.messages import JobMessage
from tests.benchmarks.rivals.events import recorded
from tests.benchmarks.rivals.faults import Outcome
from tests.benchmarks.rivals.gate import Gate
from tests.chaos.site import ChaosSite, WidePushes, chaos_site

_STEP = "report_0"
_SUBSCRIPTION = "projects/local/subscriptions/jobs"
_SECONDS = 60.0
#: Short, and yet longer than a busy machine stalls: a lease lost in a stall would count as a
#: fault that nobody meant.
_LEASES = {"LEASE_SECONDS": "10", "LEASE_RENEW_SECONDS": "3"}


@dataclass(slots=True, kw_only=True)
class Worker:
    """One step a run; a duplicate is one of the event and one of the message as well."""

    gate: Gate
    site: ChaosSite
    events: Sequence[CloudEventMessage]

    async def deliver(self, steps: Sequence[str], *, copies: int) -> None:
        """Create the runs."""
        doubled = float(copies > 1)
        self.site.instruments.relay.disturbance.duplicate = doubled
        self.site.pushes.duplicate = doubled
        await self.site.seed(steps)

    async def deliver_again(self, steps: Sequence[str]) -> None:
        """Give the relay all its events again, and the executor a message for each job."""
        for event in list(self.events):
            self.site.instruments.relay.submit(event)
        await self.site.instruments.relay.idle()
        port = self.site.instruments.functions["executor"].command.env["PORT"]
        async with httpx2.AsyncClient(trust_env=False, timeout=_SECONDS) as client:
            for step in await self.site._look([(run, _STEP) for run in steps]):
                message = JobMessage(
                    run_id=RunId(step.run_id),
                    step_id=StepId(step.step_id),
                    claim_id=step.job.claim_id,
                )
                queued = QueuedMessage(
                    message_id="1",
                    published_at="2026-01-05T09:00:00Z",
                    content=message.encode(),
                )
                body = push_body(queued, _SUBSCRIPTION, 2)
                answer = await client.post(f"http://{LOOPBACK}:{port}", content=body)
                answer.raise_for_status()

    async def kill(self) -> None:
        """Kill the executor; the site starts it again."""
        self.site.signal("executor", signal.SIGKILL)

    async def outcomes(self, steps: Sequence[str]) -> Mapping[str, Outcome]:
        """What the runs' documents say of steps whose job is closed too."""
        found = await self.site._look([(run, _STEP) for run in steps])
        return {
            step.run_id: Outcome(step.status.lower()) if step.over else Outcome.OPEN
            for step in found
        }

    async def operations(self) -> int:
        """Firestore calls of dispatcher and executor, lease renewals included."""
        return self.site.instruments.firestore_calls


@asynccontextmanager
async def worker(
    settings: Mapping[str, str], *, announced: bool = False
) -> AsyncIterator[Worker]:
    """The whole system, with these settings of its executor.

    Where calls are `announced`, they are made in the background, and the provider tells
    `notify` of each that has ended.
    """
    gate = Gate()
    with tempfile.TemporaryDirectory() as root:
        async with chaos_site(
            Path(root),
            settings={**_LEASES, **settings},
            gemini_wrapper=gate.model,
            storage_wrapper=gate.storage,
            pushes=WidePushes(chance=random.Random(1)),
            announced=announced,
        ) as site:
            events = recorded(site.instruments.relay)
            yield Worker(gate=gate, site=site, events=events)
