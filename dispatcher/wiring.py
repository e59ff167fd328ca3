"""The composition root: the one place that knows the concrete adapters.

What reaches Firestore and Pub/Sub is loaded when the first of them is needed. Most events of
a busy database ask for nothing, and an instance that sees no other never pays for either.
"""

# ruff: noqa: PLC0415 -- see above

import functools
import os
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from dispatcher.service import Dispatcher
from dispatcher.settings import DispatcherSettings, read_settings
from dispatcher.sweep import Sweep
from shared.adapters.clock import SystemClock
from shared.adapters.firestore import FirestoreDocuments, FirestoreUnfinishedWork
from shared.adapters.pubsub import PubSubQueue
from shared.events import EventLogger
from shared.settings import TraceTarget

#: Takes a CloudEvent's attributes and data.
EventHandler: TypeAlias = Callable[[Mapping[str, str], bytes], Awaitable[None]]


@functools.cache
def settings() -> DispatcherSettings:
    """The settings of this process."""
    return read_settings(os.environ)


@functools.cache
def dispatcher() -> Dispatcher:
    """The dispatcher of this process, made at the first event: gRPC wants its event loop."""
    return Dispatcher(
        documents=FirestoreDocuments(_firestore()),
        queue=_queue(),
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
def sweep() -> Sweep:
    """The sweep of this process; see `dispatcher`."""
    return Sweep(
        documents=FirestoreDocuments(_firestore()),
        work=FirestoreUnfinishedWork(_firestore()),
        queue=_queue(),
        clock=SystemClock(),
        log=_log(),
        settings=settings(),
        new_id=_new_id,
    )


@functools.cache
def _firestore() -> AsyncClient:
    shared = settings().shared
    return AsyncClient(project=shared.project, database=shared.database)


@functools.cache
def _queue() -> PubSubQueue:
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
