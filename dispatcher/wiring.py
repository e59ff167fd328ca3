"""The composition root: ports become dispatcher and sweep, and the cloud's clients ports."""

import functools
import os
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from dispatcher.claiming import Claims
from dispatcher.notify import Notifier
from dispatcher.ports import DispatcherPorts, SweepPorts
from dispatcher.refusing import Refusing
from dispatcher.service import Dispatcher
from dispatcher.settings import DispatcherSettings, read_settings
from dispatcher.sweep import Sweep
from dispatcher.sweep_report import SweepReport
from dispatcher.webhook_signatures import verifiers
from shared.adapters.clock import SystemClock
from shared.lazy import LazyDocuments, LazyQueue
from shared.log import EventLogger
from shared.ports import DocumentStore, Queue
from shared.settings import TraceTarget

#: Takes a CloudEvent's attributes and data.
EventHandler: TypeAlias = Callable[[Mapping[str, str], bytes], Awaitable[None]]
#: Sweeps once.
Sweeper: TypeAlias = Callable[[], Awaitable[SweepReport]]


def assemble(ports: DispatcherPorts, settings: DispatcherSettings) -> Dispatcher:
    """A dispatcher on these ports: in production, embedded, simulated and under test alike."""
    return Dispatcher(claims=_claims(ports, settings), log=ports.log, settings=settings)


def assemble_sweep(ports: SweepPorts, settings: DispatcherSettings) -> Sweep:
    """A sweep on these ports, likewise."""
    return Sweep(
        claims=_claims(ports, settings),
        documents=ports.documents,
        work=ports.work,
        clock=ports.clock,
        log=ports.log,
        settings=settings,
        new_id=ports.new_id,
        random=ports.random,
    )


def _claims(ports: DispatcherPorts, settings: DispatcherSettings) -> Claims:
    return Claims(
        documents=ports.documents,
        queue=ports.queue,
        clock=ports.clock,
        refusing=Refusing(
            documents=ports.documents,
            clock=ports.clock,
            flow_runs=settings.shared.flow_runs,
        ),
        flow_runs=settings.shared.flow_runs,
        new_id=ports.new_id,
        random=ports.random,
        queued_for=settings.queued_for,
    )


@functools.cache
def settings() -> DispatcherSettings:
    """The settings of this process."""
    return read_settings(os.environ)


@functools.cache
def event_handler() -> EventHandler:
    """What handles an event in this process: the dispatcher, with spans if they are wanted."""
    ports = DispatcherPorts(
        documents=LazyDocuments(_documents),
        queue=LazyQueue(_queue),
        clock=SystemClock(),
        log=log(),
        new_id=_new_id,
    )
    if settings().shared.trace_target is TraceTarget.NOWHERE:
        return assemble(ports, settings()).handle
    # Loaded only here: a process that sends no traces pays nothing for them.
    from dispatcher.traced import traced  # noqa: PLC0415

    return traced(ports, settings(), assemble)


@functools.cache
def sweeper() -> Sweeper:
    """What sweeps in this process: the sweep, with spans if they are wanted."""
    from shared.adapters.firestore import FirestoreUnfinishedWork  # noqa: PLC0415 -- see lazy

    ports = SweepPorts(
        documents=_documents(),
        work=FirestoreUnfinishedWork(_firestore()),
        queue=_queue(),
        clock=SystemClock(),
        log=log(),
        new_id=_new_id,
    )
    if settings().shared.trace_target is TraceTarget.NOWHERE:
        return assemble_sweep(ports, settings()).run
    from dispatcher.traced import traced_sweep  # noqa: PLC0415 -- as above

    return traced_sweep(ports, settings(), assemble_sweep)


@functools.cache
def notifier() -> Notifier:
    """What answers hooks in this process; it reaches one topic, and no database."""
    return Notifier(
        queue=LazyQueue(_queue),
        clock=SystemClock(),
        log=log(),
        secrets=settings().hook_secrets,
        checks=verifiers(settings().signing_keys),
    )


# The clients are made at the first call: gRPC wants its event loop.


def _documents() -> DocumentStore:
    from shared.adapters.firestore import FirestoreDocuments  # noqa: PLC0415 -- see lazy

    return FirestoreDocuments(_firestore())


@functools.cache
def _firestore() -> Any:
    from google.cloud.firestore_v1.async_client import AsyncClient  # noqa: PLC0415 -- see lazy

    shared = settings().shared
    return AsyncClient(project=shared.project, database=shared.database)


def _queue() -> Queue:
    from google.pubsub_v1.services.publisher import (  # noqa: PLC0415 -- see lazy
        PublisherAsyncClient,
    )

    from shared.adapters.pubsub import PubSubQueue  # noqa: PLC0415 -- see lazy

    return PubSubQueue(PublisherAsyncClient(), settings().jobs_topic)


@functools.cache
def log() -> EventLogger:
    """The log of this process."""
    shared = settings().shared
    return EventLogger(
        component="dispatcher",
        env=shared.environment,
        clock=SystemClock(),
        threshold=shared.log_level,
    )


def _new_id() -> str:
    return uuid.uuid4().hex
