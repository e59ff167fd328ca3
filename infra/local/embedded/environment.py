"""Both stages on the embedded adapters, joined as Eventarc and Pub/Sub join them."""

import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Self, TextIO, TypeAlias
from urllib.parse import unquote

from dispatcher.ports import DispatcherPorts, SweepPorts
from dispatcher.settings import read_settings as read_dispatcher_settings
from dispatcher.wiring import assemble as assemble_dispatcher
from dispatcher.wiring import assemble_sweep
from executor.push import answer_push
from executor.service import ExecutorPorts
from executor.settings import read_settings as read_executor_settings
from infra.local.cloud.cloud_events import CloudEventMessage, Document, document_event
from infra.local.cloud.scheduler import SWEEP_EVERY_SECONDS, scheduled
from infra.local.embedded.deliveries import Deliveries, DeliveryPolicy
from infra.local.embedded.documents import CountedDocuments, EmbeddedDocuments
from infra.local.embedded.objects import EmbeddedObjects
from infra.local.embedded.queue import (
    EmbeddedQueue,
    KeptMessages,
    PushEndpoint,
    QueuedMessage,
    pushing_to,
)
from infra.local.storage.objects import ObjectFolder
from shared.adapters.clock import SystemClock
from shared.domain.documents import DocumentRef
from shared.log import EventLogger
from shared.settings import SharedSettings

#: Takes a CloudEvent's attributes and data; an exception asks for it again.
EventHandler: TypeAlias = Callable[[Mapping[str, str], bytes], Awaitable[None]]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PREFIX = "ce-"
_SUBSCRIPTION = "projects/local/subscriptions/jobs-push"


#: Sweeps once.
SweepHandler: TypeAlias = Callable[[], Awaitable[object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stages:
    """The two stages as their entry points see them; None for one that is not scheduled."""

    dispatch: EventHandler
    execute: PushEndpoint
    sweep: SweepHandler | None = None


class EmbeddedEnvironment:
    """Runs both stages while its `async with` block lasts; nothing of it is on a network.

    `environ` are the functions' environment variables. Documents are lost at the end; objects
    are files in `folder`. `stages` puts other code in the place of the deployed functions'.
    """

    def __init__(
        self,
        *,
        environ: Mapping[str, str],
        folder: ObjectFolder,
        log_stream: TextIO | None = None,
        policy: DeliveryPolicy | None = None,
        stages: "Callable[[EmbeddedEnvironment], Stages] | None" = None,
    ) -> None:
        policy = policy or DeliveryPolicy()
        self.environ = environ
        self.folder = folder
        self.log_stream = log_stream
        self.clock = SystemClock()
        self.documents = EmbeddedDocuments()
        #: The stages' own way to the documents, so that their calls alone are counted.
        self.worker_documents = CountedDocuments(self.documents)
        self.dead_letters = KeptMessages()
        #: Events that were refused as often as the policy allows.
        self.lost_events: list[CloudEventMessage] = []
        self._events = Deliveries(
            self._dispatch, policy=policy, give_up=self.lost_events.append
        )
        self._jobs = Deliveries(
            pushing_to(self._execute, _SUBSCRIPTION), policy=policy, give_up=self._bury
        )
        self.queue = EmbeddedQueue(self._jobs, self.clock)
        #: Closed last, with what the stages put there.
        self.resources = AsyncExitStack()
        self._stages = (stages or deployed_stages)(self)
        self._stack = AsyncExitStack()
        self.documents.listen(self._changed)

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self.resources)
        await self._stack.enter_async_context(self._jobs)
        await self._stack.enter_async_context(self._events)
        if self._stages.sweep is not None:
            await self._stack.enter_async_context(
                scheduled(self._stages.sweep, every_seconds=SWEEP_EVERY_SECONDS)
            )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def idle(self) -> None:
        """Wait until no event and no job is under way."""
        while self._events.busy or self._jobs.busy:
            await self._events.idle()
            await self._jobs.idle()

    def logger(self, component: str, shared: SharedSettings) -> EventLogger:
        """The log of one stage."""
        return EventLogger(
            component=component,
            env=shared.environment,
            clock=self.clock,
            threshold=shared.log_level,
            stream=self.log_stream,
        )

    async def _dispatch(self, event: CloudEventMessage, _attempt: int) -> bool:
        attributes = {
            name.removeprefix(_PREFIX): unquote(value)
            for name, value in event.headers.items()
            if name.startswith(_PREFIX)
        }
        await self._stages.dispatch(attributes, event.body)
        return True

    async def _execute(self, body: bytes) -> int:
        return await self._stages.execute(body)

    def _bury(self, message: QueuedMessage) -> None:
        self.dead_letters.messages.append(message.content)

    def _changed(self, ref: DocumentRef, old: Document | None, new: Document | None) -> None:
        # As the trigger's filter: the worker's own collection causes no events.
        if ref.collection != self.environ.get("FLOW_RUNS_COLLECTION", "flow_runs"):
            return
        event = document_event(
            project=self.environ.get("GCP_PROJECT", "local"),
            document_path=f"{ref.collection}/{ref.document_id}",
            old=old,
            new=new,
            event_id=str(uuid.uuid4()),
            time=_time_of(new or old),
        )
        self._events.submit(event)


def deployed_stages(environment: EmbeddedEnvironment) -> Stages:
    """The code of the two functions, given the embedded adapters.

    Raises:
        SettingsInvalid: a variable of `environ` is bad.
    """
    return Stages(
        dispatch=_dispatcher(environment),
        execute=_executor(environment),
        # It is called every few seconds: one look at the queues is enough each time.
        sweep=sweep_handler(environment, {"SWEEP_PACING_SECONDS": "0", **environment.environ}),
    )


def _dispatcher(environment: EmbeddedEnvironment) -> EventHandler:
    settings = read_dispatcher_settings(environment.environ)
    return assemble_dispatcher(
        DispatcherPorts(
            documents=environment.worker_documents,
            queue=environment.queue,
            clock=environment.clock,
            log=environment.logger("dispatcher", settings.shared),
            new_id=_new_id,
        ),
        settings,
    ).handle


def sweep_handler(environment: EmbeddedEnvironment, environ: Mapping[str, str]) -> SweepHandler:
    """What sweeps this environment's documents, by these variables."""
    settings = read_dispatcher_settings(environ)
    return assemble_sweep(
        SweepPorts(
            documents=environment.documents,
            work=environment.documents,
            queue=environment.queue,
            clock=environment.clock,
            log=environment.logger("dispatcher", settings.shared),
            new_id=_new_id,
        ),
        settings,
    ).run


def _executor(environment: EmbeddedEnvironment) -> PushEndpoint:
    # Late, as the model's library takes half a second to load.
    from executor.wiring import assemble, make_background, make_model  # noqa: PLC0415

    settings = read_executor_settings(environment.environ)
    model = make_model(settings)
    environment.resources.push_async_callback(model.aclose)
    ports = ExecutorPorts(
        documents=environment.worker_documents,
        objects=EmbeddedObjects(environment.folder),
        model=model,
        background=make_background(settings, model),
        dead_letters=environment.dead_letters,
        clock=environment.clock,
        log=environment.logger("executor", settings.shared),
        new_id=_new_id,
    )
    return partial(answer_push, handle=assemble(ports, settings).handle, log=ports.log)


def _new_id() -> str:
    return uuid.uuid4().hex


def _time_of(document: Document | None) -> datetime:
    nanoseconds = document.update_time if document else 0
    return _EPOCH + timedelta(microseconds=nanoseconds // 1_000)
