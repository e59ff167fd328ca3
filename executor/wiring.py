"""The composition root: the one place that knows the concrete adapters."""

import asyncio
import functools
import os
import signal
import uuid
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import TypeAlias

from google.cloud.firestore_v1.async_client import AsyncClient
from google.pubsub_v1.services.publisher import PublisherAsyncClient

from executor.adapters.gcs import GcsObjects, storage_client
from executor.adapters.gemini import GeminiModel, make_client
from executor.adapters.interactions import GeminiInteractions
from executor.background import BackgroundCalls
from executor.service import Executor
from executor.settings import ExecutorSettings, GeminiApi, read_settings
from shared.adapters.clock import SystemClock
from shared.adapters.firestore import FirestoreDocuments
from shared.adapters.pubsub import PubSubQueue
from shared.events import EventLogger
from shared.settings import TraceTarget

#: Takes the body of a push request, answers an HTTP status.
PushHandler: TypeAlias = Callable[[bytes], Awaitable[int]]


@functools.cache
def settings() -> ExecutorSettings:
    """The settings of this process."""
    return read_settings(os.environ)


def make_model(configured: ExecutorSettings) -> GeminiModel:
    """The model that the settings name."""
    return GeminiModel(make_client(configured.gemini, configured.shared.project), SystemClock())


def make_background(configured: ExecutorSettings, model: GeminiModel) -> BackgroundCalls | None:
    """Calls in the background, where the settings want them, by the model's own client."""
    gemini, clock = configured.gemini, SystemClock()
    if gemini.api is not GeminiApi.INTERACTIONS:
        return None
    return BackgroundCalls(
        model=GeminiInteractions(model.client, clock),
        clock=clock,
        longest=gemini.background_timeout,
    )


@functools.cache
def executor() -> Executor:
    """The executor of this process, made at the first request: gRPC wants its event loop."""
    configured = settings()
    shared, clock = configured.shared, SystemClock()
    firestore = AsyncClient(project=shared.project, database=shared.database)
    draining = asyncio.Event()
    _set_on_sigterm(draining)
    model = make_model(configured)
    return Executor(
        documents=FirestoreDocuments(firestore),
        objects=GcsObjects(storage_client(shared.project)),
        model=model,
        background=make_background(configured, model),
        dead_letters=PubSubQueue(PublisherAsyncClient(), configured.dead_letter_topic),
        clock=clock,
        log=EventLogger(
            component="executor",
            env=shared.environment,
            clock=clock,
            threshold=shared.log_level,
        ),
        settings=configured,
        new_id=lambda: uuid.uuid4().hex,
        draining=draining,
    )


@functools.cache
def push_handler() -> PushHandler:
    """What handles a push in this process: the executor, with spans if they are wanted."""
    if settings().shared.trace_target is TraceTarget.NOWHERE:
        return executor().handle
    # Late: whoever looks at no traces loads nothing for them.
    from executor.traced import traced  # noqa: PLC0415

    return traced(executor())


def _set_on_sigterm(event: asyncio.Event) -> None:
    """Have SIGTERM set the event, beside what the server does about the signal.

    An instance gets 10 seconds from there
    (https://cloud.google.com/run/docs/container-contract#instance-shutdown).
    """
    loop = asyncio.get_running_loop()
    server_handler = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(event.set)
        if callable(server_handler):
            server_handler(number, frame)

    signal.signal(signal.SIGTERM, stop)
