"""One report step, driven to its end by both stages while Gemini misbehaves as told.

Real are the dispatcher, the executor, Google's client library and the sockets; embedded are
queue and objects, and the documents unless a Firestore is given. Waiting is skipped: no jitter,
and a clock that jumps to the job's next attempt.
"""

import asyncio
import io
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from random import Random
from typing import Any, cast

from executor.adapters.gemini import GeminiModel
from executor.adapters.interactions import GeminiInteractions
from executor.adapters.provider_client import ProviderClient, make_client
from executor.ports import BackgroundModel
from executor.push import answer_push
from executor.service import Executor, ExecutorPorts
from executor.settings import GeminiApi, GeminiSettings, read_settings
from executor.wiring import assemble
from infra.local.cloud.cloud_events import Document as CloudDocument
from infra.local.embedded.documents import CountedDocuments, EmbeddedDocuments
from infra.local.embedded.environment import (
    EmbeddedEnvironment,
    Stages,
    _dispatcher,
    sweep_handler,
)
from infra.local.embedded.objects import EmbeddedObjects
from infra.local.gemini import create_app
from infra.local.gemini.calls import Calls
from infra.local.gemini.faults import FaultKind, FaultRule
from infra.local.processes.functions import BUCKET, function_environ
from infra.local.scenario.model import Document, SeedObject
from infra.local.scenario.prompts import prompt_documents
from infra.local.scenario.schemas import schema_documents
from infra.local.scenario.single import single_report_run
from infra.local.serving.asgi import serve
from infra.local.storage.objects import ObjectFolder
from shared.adapters.clock import SystemClock
from shared.domain.documents import Create, DocumentRef
from shared.domain.identifiers import RunId, StepId
from shared.domain.job_documents import job_ref
from shared.domain.jobs import CLOSED_STATES
from shared.domain.messages import OutgoingMessage
from tests.support.heard_firestore import HeardFirestore

RUN_ID = RunId("20260105-090000_BTCUSD_fault")
STEP_ID = StepId("llm_report_1d")
RUN = DocumentRef("flow_runs", RUN_ID)
#: More than any step may need; a test that gets there has found a loop. An answer that the
#: provider seems to have forgotten is looked for every few seconds, for two minutes.
MAX_DELIVERIES = 40
#: A loaded machine may be ten times slower; nothing here takes more than a few seconds.
_PATIENCE_SECONDS = 120.0
#: What is waited for to the end of the timeout. Every other answer comes at once, but a
#: loaded machine may take more than a second for it.
_UNANSWERED = {FaultKind.HANG, FaultKind.DRIP}
_SETTINGS = {
    "GEMINI_TIMEOUT_SECONDS": "10",
    "FINALIZE_BUDGET_SECONDS": "5",
    "INVOCATION_TIMEOUT_SECONDS": "60",
    "LOG_LEVEL": "DEBUG",
}


class JumpingClock(SystemClock):
    """The time, plus what was skipped."""

    def __init__(self) -> None:
        self.skipped = timedelta(0)

    def now(self) -> datetime:
        """See the port."""
        return super().now() + self.skipped

    def jump_to(self, moment: datetime) -> None:
        """Skip what is left until then."""
        self.skipped += max(moment - self.now(), timedelta(0))


class NoJitter(Random):
    """Chooses the shortest wait."""

    def uniform(self, a: float, b: float) -> float:
        """Return the lower bound."""
        del b
        return a


@dataclass(frozen=True, slots=True, kw_only=True)
class Seeds:
    """What stands in the registry and the bucket before the step is READY."""

    run: Document
    objects: Sequence[SeedObject]
    prompts: Mapping[str, Document] = field(default_factory=prompt_documents)
    schemas: Mapping[str, Document] = field(default_factory=schema_documents)

    @property
    def documents(self) -> Mapping[DocumentRef, Document]:
        """Where each document goes; the run comes last."""
        return {
            **{DocumentRef("llm_prompts", name): data for name, data in self.prompts.items()},
            **{DocumentRef("llm_schemas", name): data for name, data in self.schemas.items()},
            RUN: self.run,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """All that is left behind."""

    run: Mapping[str, Any]
    record: Mapping[str, Any]
    #: The statuses that the executor gave its deliveries, in their order.
    statuses: Sequence[int]
    #: The waits between deliveries that were skipped.
    skipped: timedelta
    calls: Calls
    log: str
    #: Every version of every document that was written after the seeds.
    written: Sequence[tuple[DocumentRef, Mapping[str, Any]]]
    pushes: Sequence[bytes]
    dead_letters: Sequence[OutgoingMessage]
    #: The objects beyond the seeds, by name, and what is stored about them.
    objects: Mapping[str, bytes]
    object_metadata: Mapping[str, Mapping[str, str]]

    @property
    def step(self) -> Mapping[str, Any]:
        """The step as the orchestrator reads it."""
        step: Mapping[str, Any] = self.run["steps"][STEP_ID]
        return step

    @property
    def entries(self) -> Sequence[Mapping[str, Any]]:
        """The log, entry by entry."""
        return [json.loads(line) for line in self.log.splitlines()]


def seeds(**profile: Any) -> Seeds:
    """A run with one report to make; the arguments are fields of its profile, None for none."""
    run, objects = single_report_run(bucket=BUCKET, run_id=RUN_ID, step_id=STEP_ID)
    llm = run["steps"][STEP_ID]["inputs"]["llm"]
    fields = {**llm["llmProfile"], **profile}
    llm["llmProfile"] = {name: value for name, value in fields.items() if value is not None}
    return Seeds(run=run, objects=objects)


async def drive(
    folder: Path,
    faults: Sequence[FaultRule],
    *,
    seeded: Seeds | None = None,
    environ: Mapping[str, str] | None = None,
    keep_calls: bool = False,
    firestore: HeardFirestore | None = None,
) -> Ended:
    """Have the step claimed, and worked on until its job is closed."""
    app = create_app(latency_seconds=0, faults=faults)
    app.state.calls.keep = keep_calls
    async with (
        asyncio.timeout(_PATIENCE_SECONDS),
        serve(app, name="Gemini stand-in") as url,
    ):
        settings = {**function_environ("local", url), **_SETTINGS, **(environ or {})}
        if any(rule.kind in _UNANSWERED for rule in faults):
            settings["GEMINI_TIMEOUT_SECONDS"] = "1"
        stage = Stage(folder, settings, seeded or seeds(), firestore=firestore)
        async with stage.environment:
            await stage.claim()
            await stage.deliver_until_closed()
            return await stage.ended(app.state.calls)


class Stage:
    """Both stages on embedded adapters, with a step to claim."""

    def __init__(
        self,
        folder: Path,
        environ: Mapping[str, str],
        seeded: Seeds,
        *,
        firestore: HeardFirestore | None = None,
    ) -> None:
        self._firestore = firestore
        self.folder = ObjectFolder(folder)
        self.folder.create_bucket(BUCKET)
        self.seeded = seeded
        self.clock = JumpingClock()
        self.log = io.StringIO()
        self.pushes: list[bytes] = []
        self.statuses: list[int] = []
        self.written: list[tuple[DocumentRef, Mapping[str, Any]]] = []
        self.environment = EmbeddedEnvironment(
            environ=environ, folder=self.folder, log_stream=self.log, stages=self._stages
        )
        self.executor = self._executor()
        sweeping = {**environ, "SWEEP_PACING_SECONDS": "0"}
        self.sweep = sweep_handler(self.environment, sweeping)

    def _stages(self, environment: EmbeddedEnvironment) -> Stages:
        environment.clock = self.clock
        if self._firestore is not None:
            # It has all that the stages and this harness ask of the embedded ones.
            environment.documents = cast("EmbeddedDocuments", self._firestore)
            environment.worker_documents = CountedDocuments(self._firestore)
        return Stages(dispatch=_dispatcher(environment), execute=self._keep_push)

    async def _keep_push(self, body: bytes) -> int:
        self.pushes.append(body)
        return HTTPStatus.NO_CONTENT

    def _executor(self) -> Executor:
        environment = self.environment
        settings = read_settings(environment.environ)
        client = make_client(settings.gemini, settings.shared.project)
        environment.resources.push_async_callback(client.aio.aclose)
        ports = ExecutorPorts(
            documents=environment.worker_documents,
            objects=EmbeddedObjects(environment.folder),
            model=GeminiModel(client, self.clock),
            background=self._background(client, settings.gemini),
            dead_letters=environment.dead_letters,
            clock=self.clock,
            log=environment.logger("executor", settings.shared),
            new_id=lambda: uuid.uuid4().hex,
            random=NoJitter(),
        )
        return assemble(ports, settings)

    def _background(
        self, client: ProviderClient, gemini: GeminiSettings
    ) -> BackgroundModel | None:
        background = gemini.api is GeminiApi.INTERACTIONS
        return GeminiInteractions(client, self.clock) if background else None

    async def claim(self) -> None:
        """Seed everything, and let the dispatcher answer the run's event."""
        for seed in self.seeded.objects:
            self.folder.write(seed.bucket, seed.name, seed.data, content_type=seed.content_type)
        documents = self.environment.documents
        for ref, data in self.seeded.documents.items():
            await documents.commit([Create(ref=ref, data=data)], timeout_seconds=1)
        documents.listen(self._note)
        await self.environment.idle()

    def _note(
        self, ref: DocumentRef, _: CloudDocument | None, new: CloudDocument | None
    ) -> None:
        if new is not None:
            self.written.append((ref, new.fields))

    async def deliver_until_closed(self) -> None:
        """Deliver the job's message as often as it takes, each time when it is wanted."""
        [push] = self.pushes
        for _ in range(MAX_DELIVERIES):
            executor = self.executor
            self.statuses.append(await answer_push(push, executor.handle, executor.log))
            record = await self._read(job_ref(RUN_ID, STEP_ID))
            if record["state"] in CLOSED_STATES:
                return
            await self._wait(record)
            if (await self._read(job_ref(RUN_ID, STEP_ID)))["state"] in CLOSED_STATES:
                return
        raise AssertionError(f"{MAX_DELIVERIES} deliveries and no end: {self.statuses}")

    async def _wait(self, record: Mapping[str, Any]) -> None:
        """Let time pass until the job is wanted, and sweep meanwhile if it waits in a queue."""
        self.clock.jump_to(record["notBefore"])
        while record["state"] not in CLOSED_STATES and "queue" in record:
            await self.sweep()
            self.clock.skipped += timedelta(seconds=1)
            record = await self._read(job_ref(RUN_ID, STEP_ID))

    async def ended(self, calls: Calls) -> Ended:
        """What is left behind."""
        seeded = {seed.name for seed in self.seeded.objects}
        records = {
            record.name: record
            for record in self.folder.list(BUCKET)
            if record.name not in seeded
        }
        return Ended(
            run=await self._read(RUN),
            record=await self._read(job_ref(RUN_ID, STEP_ID)),
            statuses=self.statuses,
            skipped=self.clock.skipped,
            calls=calls,
            log=self.log.getvalue(),
            written=self.written,
            pushes=self.pushes,
            dead_letters=self.environment.dead_letters.messages,
            objects={name: self.folder.read(BUCKET, name)[1] for name in records},
            object_metadata={name: record.metadata for name, record in records.items()},
        )

    async def _read(self, ref: DocumentRef) -> Mapping[str, Any]:
        [found] = await self.environment.documents.read([ref], timeout_seconds=1)
        assert found is not None
        return found.data
