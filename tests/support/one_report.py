"""One report through both stages, on the embedded adapters and the Gemini stand-in."""

import io
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.local.embedded.deliveries import DeliveryPolicy
from infra.local.embedded.environment import EmbeddedEnvironment
from infra.local.gemini import create_app
from infra.local.processes.functions import BUCKET, function_environ
from infra.local.scenario.model import Document, SeedObject
from infra.local.scenario.prompts import prompt_documents
from infra.local.scenario.schemas import schema_documents
from infra.local.scenario.single import single_report_run
from infra.local.serving.asgi import serve
from infra.local.storage.objects import ObjectFolder
from shared.domain.documents import Create, DocumentRef
from shared.domain.identifiers import RunId, StepId
from shared.domain.job_documents import job_ref

RUN_ID = "20260105-090000_BTCUSD_one"
STEP_ID = "llm_report_1d"
_SECONDS = 30.0
_IMPATIENT = DeliveryPolicy(first_retry_seconds=0.01, longest_retry_seconds=0.1, max_attempts=8)


@dataclass(slots=True, kw_only=True)
class OneReport:
    """What is seeded before the step becomes READY; change it at will until then."""

    environment: EmbeddedEnvironment
    stand_in: Any
    log: io.StringIO
    run: Document
    objects: list[SeedObject]
    prompts: dict[str, Document] = field(default_factory=prompt_documents)
    schemas: dict[str, Document] = field(default_factory=schema_documents)

    @property
    def step(self) -> Document:
        """The seeded step."""
        step: Document = self.run["steps"][STEP_ID]
        return step

    def replace_object(self, part: str, data: bytes) -> str:
        """Let the one object with `part` in its name hold these bytes; its URI."""
        [index] = [n for n, each in enumerate(self.objects) if part in each.name]
        old = self.objects[index]
        self.objects[index] = SeedObject(
            bucket=old.bucket, name=old.name, data=data, content_type=old.content_type
        )
        return old.uri

    async def execute(self) -> Document:
        """Seed all, wait until nothing is left to do; the step as it then is."""
        for written in self.objects:
            self.environment.folder.write(written.bucket, written.name, written.data)
        documents = self.environment.documents
        registry = [("llm_prompts", self.prompts), ("llm_schemas", self.schemas)]
        writes = [
            Create(ref=DocumentRef(collection, name), data=data)
            for collection, documents_by_id in registry
            for name, data in documents_by_id.items()
        ]
        run = Create(ref=DocumentRef("flow_runs", RUN_ID), data=self.run)
        await documents.commit([*writes, run], timeout_seconds=_SECONDS)
        await self.environment.idle()
        return await self.stored_step()

    async def stored_step(self) -> Document:
        """The step as it is now."""
        run = await self.document(DocumentRef("flow_runs", RUN_ID))
        step: Document = run["steps"][STEP_ID]
        return step

    async def job(self) -> Document:
        """The step's job record."""
        return await self.document(job_ref(RunId(RUN_ID), StepId(STEP_ID)))

    async def document(self, ref: DocumentRef) -> Document:
        """Any document."""
        [found] = await self.environment.documents.read([ref], timeout_seconds=_SECONDS)
        assert found is not None
        return dict(found.data)

    def calls(self) -> int:
        """How many requests have reached the model."""
        total: int = self.stand_in.state.calls.received.total()
        return total

    def events(self, name: str) -> Sequence[Mapping[str, Any]]:
        """The log's entries of this event."""
        entries = [json.loads(line) for line in self.log.getvalue().splitlines()]
        return [entry for entry in entries if entry["event"] == name]


@asynccontextmanager
async def one_report(
    root: Path,
    *,
    environ: Mapping[str, str] | None = None,
    images: int = 1,
    timeframe: str = "1d",
) -> AsyncIterator[OneReport]:
    """An environment with nothing in it yet, and one report to seed."""
    folder = ObjectFolder(root)
    folder.create_bucket(BUCKET)
    run, objects = single_report_run(
        bucket=BUCKET, run_id=RUN_ID, step_id=STEP_ID, images=images, timeframe=timeframe
    )
    stand_in, log = create_app(latency_seconds=0), io.StringIO()
    async with (
        serve(stand_in, name="Gemini stand-in") as url,
        EmbeddedEnvironment(
            environ={
                **function_environ("local", url),
                "LOG_LEVEL": "DEBUG",
                **(environ or {}),
            },
            folder=folder,
            log_stream=log,
            policy=_IMPATIENT,
        ) as environment,
    ):
        yield OneReport(
            environment=environment,
            stand_in=stand_in,
            log=log,
            run=run,
            objects=list(objects),
        )
