"""Both stages in one process, each on the document store that a test gives it."""

import asyncio
import base64
import io
import json
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dispatcher.ports import DispatcherPorts
from dispatcher.service import Dispatcher
from dispatcher.settings import read_settings as read_dispatcher_settings
from dispatcher.wiring import assemble as assemble_dispatcher
from executor.ports import ModelAnswer, ModelRequest
from executor.push import answer_push
from executor.service import Executor, ExecutorPorts
from executor.settings import read_settings as read_executor_settings
from executor.wiring import assemble
from infra.local.embedded.objects import EmbeddedObjects
from infra.local.embedded.queue import KeptMessages
from infra.local.scenario.model import SeedObject
from infra.local.scenario.prompts import prompt_documents
from infra.local.scenario.schemas import schema_documents
from infra.local.storage.objects import ObjectFolder
from shared.adapters.clock import SystemClock
from shared.domain.documents import Create, DocumentRef
from shared.domain.messages import OutgoingMessage
from shared.log import EventLogger, Severity
from shared.ports import DocumentStore

BUCKET = "test-artifacts"
TIMEOUT_SECONDS = 60.0
ANSWER = ModelAnswer(
    text='{"summary": {"markdown": "up"}, "details": {}}',
    finish_reason="STOP",
    block_reason=None,
    model_version="test-model",
    response_id="r",
    usage={"totalTokenCount": 3},
)


@dataclass(slots=True)
class CountedModel:
    """Implements the LanguageModel port with one answer, given after a moment."""

    answer: ModelAnswer = ANSWER
    requests: list[ModelRequest] = field(default_factory=list)

    async def generate(self, request: ModelRequest, *, timeout_seconds: float) -> ModelAnswer:
        del timeout_seconds
        self.requests.append(request)
        await asyncio.sleep(0.2)
        return self.answer


@dataclass(slots=True)
class Log:
    """What both stages logged."""

    stream: io.StringIO = field(default_factory=io.StringIO)

    def logger(self, component: str) -> EventLogger:
        return EventLogger(
            component=component,
            env="test",
            clock=SystemClock(),
            threshold=Severity.DEBUG,
            stream=self.stream,
        )

    def entries(self, event: str) -> list[dict[str, Any]]:
        lines = map(json.loads, self.stream.getvalue().splitlines())
        return [line for line in lines if line["event"] == event]


@dataclass(slots=True)
class Worker:
    """The worker; `queue` keeps the jobs until the test pushes them."""

    folder: Path
    project: str = "test"
    model: CountedModel = field(default_factory=CountedModel)
    queue: KeptMessages = field(default_factory=KeptMessages)
    dead_letters: KeptMessages = field(default_factory=KeptMessages)
    log: Log = field(default_factory=Log)

    @property
    def objects(self) -> ObjectFolder:
        return ObjectFolder(self.folder)

    def dispatcher(self, documents: DocumentStore) -> Dispatcher:
        environ = {"GCP_PROJECT": self.project, "JOBS_TOPIC": "jobs"}
        return assemble_dispatcher(
            DispatcherPorts(
                documents=documents,
                queue=self.queue,
                clock=SystemClock(),
                log=self.log.logger("dispatcher"),
                new_id=lambda: uuid.uuid4().hex,
            ),
            read_dispatcher_settings(environ),
        )

    def executor(self, documents: DocumentStore) -> Executor:
        environ = {
            "GCP_PROJECT": self.project,
            "DEAD_LETTER_TOPIC": "dead",
            "ARTIFACTS_BUCKET": BUCKET,
            "GEMINI_API_KEY": "none",
        }
        ports = ExecutorPorts(
            documents=documents,
            objects=EmbeddedObjects(self.objects),
            model=self.model,
            dead_letters=self.dead_letters,
            clock=SystemClock(),
            log=self.log.logger("executor"),
            new_id=lambda: uuid.uuid4().hex,
        )
        return assemble(ports, read_executor_settings(environ))

    def put(self, objects: tuple[SeedObject, ...] | list[SeedObject]) -> None:
        """Store a run's sources."""
        self.objects.create_bucket(BUCKET)
        for item in objects:
            self.objects.write(
                item.bucket, item.name, item.data, content_type=item.content_type
            )


async def publish_registry(documents: DocumentStore) -> None:
    """Store the demo's prompts and schemas."""
    for collection, entries in (
        ("llm_prompts", prompt_documents()),
        ("llm_schemas", schema_documents()),
    ):
        for name, data in entries.items():
            await create(documents, DocumentRef(collection, name), data)


async def create(documents: DocumentStore, ref: DocumentRef, data: dict[str, Any]) -> None:
    """Store a new document."""
    await documents.commit([Create(ref=ref, data=data)], timeout_seconds=TIMEOUT_SECONDS)


async def read(documents: DocumentStore, ref: DocumentRef) -> dict[str, Any]:
    """The fields of a document that exists."""
    [snapshot] = await documents.read([ref], timeout_seconds=TIMEOUT_SECONDS)
    assert snapshot is not None
    return dict(snapshot.data)


async def pushed(executor: Executor, body: bytes) -> int:
    """The status that answers a push to this executor."""
    return await answer_push(body, executor.handle, executor.log)


def push(message: OutgoingMessage, message_id: str = "1") -> bytes:
    """The body of the push request that delivers this message."""
    body = {
        "subscription": "projects/test/subscriptions/jobs",
        "message": {
            "data": base64.b64encode(message.data).decode(),
            "attributes": dict(message.attributes),
            "messageId": message_id,
        },
    }
    return json.dumps(body).encode()
