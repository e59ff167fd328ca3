"""The composition root: the one place that knows the concrete adapters."""

import functools
import os
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from dispatcher.late import LateDocuments, LateQueue
from dispatcher.service import Dispatcher
from dispatcher.settings import DispatcherSettings, read_settings
from dispatcher.sweep import Sweep
from dispatcher.sweep_report import SweepReport
from shared.adapters.clock import SystemClock
from shared.events import EventLogger
from shared.ports import DocumentStore, Queue
from shared.settings import TraceTarget

#: Takes a CloudEvent's attributes and data.
EventHandler: TypeAlias = Callable[[Mapping[str, str], bytes], Awaitable[None]]
#: Sweeps once.
Sweeper: TypeAlias = Callable[[], Awaitable[SweepReport]]


@functools.cache
def settings() -> DispatcherSettings:
    """The settings of this process."""
    return read_settings(os.environ)


@functools.cache
def dispatcher() -> Dispatcher:
    """The dispatcher of this process."""
    return Dispatcher(
        documents=LateDocuments(_documents),
        queue=LateQueue(_queue),
        clock=SystemClock(),
        log=_log(),
        settings=settings(),
        new_id=_new_id,
    )


@functools.cache
def event_handler() -> EventHandler:
    """What handles an event in this process: the dispatcher, with spans if they are wanted."""
    if settings().shared.trace_target is TraceTarget.NOWHERE:
        return dispatcher().handle
    # Late: whoever looks at no traces loads nothing for them.
    from dispatcher.traced import traced  # noqa: PLC0415

    return traced(dispatcher())


@functools.cache
def sweeper() -> Sweeper:
    """What sweeps in this process: the sweep, with spans if they are wanted."""
    if settings().shared.trace_target is TraceTarget.NOWHERE:
        return sweep().run
    from dispatcher.traced import traced_sweep  # noqa: PLC0415 -- as above

    return traced_sweep(sweep())


@functools.cache
def sweep() -> Sweep:
    """The sweep of this process."""
    from shared.adapters.firestore import FirestoreUnfinishedWork  # noqa: PLC0415 -- see late

    return Sweep(
        documents=_documents(),
        work=FirestoreUnfinishedWork(_firestore()),
        queue=_queue(),
        clock=SystemClock(),
        log=_log(),
        settings=settings(),
        new_id=_new_id,
    )


# The clients are made at the first call: gRPC wants its event loop.


def _documents() -> DocumentStore:
    from shared.adapters.firestore import FirestoreDocuments  # noqa: PLC0415 -- see late

    return FirestoreDocuments(_firestore())


@functools.cache
def _firestore() -> Any:
    from google.cloud.firestore_v1.async_client import AsyncClient  # noqa: PLC0415 -- see late

    shared = settings().shared
    return AsyncClient(project=shared.project, database=shared.database)


def _queue() -> Queue:
    from google.pubsub_v1.services.publisher import (  # noqa: PLC0415 -- see late
        PublisherAsyncClient,
    )

    from shared.adapters.pubsub import PubSubQueue  # noqa: PLC0415 -- see late

    return PubSubQueue(PublisherAsyncClient(), settings().jobs_topic)


def _log() -> EventLogger:
    shared = settings().shared
    return EventLogger(
        component="dispatcher",
        env=shared.environment,
        clock=SystemClock(),
        threshold=shared.log_level,
    )


def _new_id() -> str:
    return uuid.uuid4().hex
