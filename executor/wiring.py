"""The composition root: ports become an executor, and the cloud's clients become ports."""

import asyncio
import functools
import os
import uuid
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from google.cloud.firestore_v1.async_client import AsyncClient

from executor.adapters.gcs import GcsObjects, storage_client
from executor.adapters.gemini import GeminiModel
from executor.adapters.provider_client import make_client
from executor.billing.day import DayBudget
from executor.billing.ledger import SpendLedger
from executor.ending import Ending
from executor.inputs.prefetch import Prefetcher
from executor.inputs.step_inputs import InputReader
from executor.jobs.draining import set_on_sigterm
from executor.jobs.finalizing import Finalizer
from executor.jobs.records import RecordReader
from executor.jobs.run_locks import RunLocks
from executor.model_calls.background import BackgroundCalls
from executor.model_calls.calling import ModelCaller
from executor.model_calls.charging import Charges
from executor.model_calls.one_call import CallMaker
from executor.model_calls.pacing import Pacing
from executor.model_calls.pools import pool_places
from executor.model_calls.tiers import TierPolicy
from executor.model_calls.watching import CallWatcher
from executor.ports import BackgroundModel
from executor.push import DeliveryHandler, answer_push
from executor.reports.making import ReportMaker
from executor.reports.store import ReportStore
from executor.service import Executor, ExecutorPorts
from executor.settings import ExecutorSettings, GeminiApi, read_settings
from shared.adapters.clock import SystemClock
from shared.adapters.firestore import FirestoreDocuments
from shared.lazy import LazyQueue
from shared.log import EventLogger
from shared.ports import Queue
from shared.settings import TraceTarget

#: Takes the body of a push request, answers an HTTP status.
PushHandler: TypeAlias = Callable[[bytes], Awaitable[int]]


def assemble(ports: ExecutorPorts, settings: ExecutorSettings) -> Executor:
    """An executor on these ports: in production, embedded, simulated and under test alike."""
    records = RecordReader(
        documents=ports.documents,
        flow_runs=settings.shared.flow_runs,
        prompts=settings.prompts,
        schemas=settings.schemas,
        places=functools.partial(pool_places, settings.gemini),
    )
    pacing = Pacing(
        documents=ports.documents,
        clock=ports.clock,
        random=ports.random,
        endpoint=settings.gemini.endpoint,
        limits=settings.gemini.limits,
        patience=settings.gemini.refusal_patience,
    )
    inputs = InputReader(clock=ports.clock, settings=settings, records=records)
    prefetcher = Prefetcher(objects=ports.objects, inputs=inputs, settings=settings)
    background = _background_calls(ports, settings)
    charges = Charges(ledger=_ledger(ports, settings))
    tiers = TierPolicy(gemini=settings.gemini, call_policy=settings.call_policy)
    caller = ModelCaller(
        calls=CallMaker(
            model=ports.model,
            background=background,
            clock=ports.clock,
            settings=settings,
            charges=charges,
            pacing=pacing,
            tiers=tiers,
        ),
        clock=ports.clock,
        random=ports.random,
        pacing=pacing,
        tiers=tiers,
    )
    finalizer = Finalizer(
        documents=ports.documents,
        records=records,
        clock=ports.clock,
        random=ports.random,
        run_locks=RunLocks(),
        keep_for=settings.limits.keep_closed_jobs,
        prices=settings.prices,
    )
    return Executor(
        records=records,
        prefetcher=prefetcher,
        maker=ReportMaker(
            caller=caller,
            prefetcher=prefetcher,
            reports=ReportStore(objects=ports.objects, random=ports.random),
            clock=ports.clock,
            settings=settings,
        ),
        ending=Ending(
            finalizer=finalizer,
            background=background,
            pacing=pacing,
            tiers=tiers,
            charges=charges,
            clock=ports.clock,
            random=ports.random,
            settings=settings,
        ),
        pacing=pacing,
        tiers=tiers,
        documents=ports.documents,
        dead_letters=ports.dead_letters,
        clock=ports.clock,
        random=ports.random,
        log=ports.log,
        settings=settings,
        new_id=ports.new_id,
        draining=ports.draining,
    )


def _background_calls(
    ports: ExecutorPorts, settings: ExecutorSettings
) -> BackgroundCalls | None:
    if ports.background is None:
        return None
    model, longest = ports.background, settings.gemini.background_timeout
    return BackgroundCalls(
        model=model,
        clock=ports.clock,
        watcher=CallWatcher(model=model, clock=ports.clock, longest=longest),
        hooks=settings.gemini.hooks,
    )


def _ledger(ports: ExecutorPorts, settings: ExecutorSettings) -> SpendLedger | None:
    """None without a ceiling: then spending costs no database call."""
    if not settings.ceilings:
        return None
    return SpendLedger(
        documents=ports.documents,
        clock=ports.clock,
        random=ports.random,
        prices=settings.prices,
        per_run=settings.ceilings.per_run,
        day=_day_budget(ports, settings),
    )


def _day_budget(ports: ExecutorPorts, settings: ExecutorSettings) -> DayBudget | None:
    if settings.ceilings.per_day is None:
        return None
    return DayBudget(
        documents=ports.documents,
        clock=ports.clock,
        random=ports.random,
        ceiling=settings.ceilings.per_day,
        holder=ports.new_id(),
    )


@functools.cache
def settings() -> ExecutorSettings:
    """The settings of this process."""
    return read_settings(os.environ)


@functools.cache
def log() -> EventLogger:
    """The log of this process."""
    shared = settings().shared
    return EventLogger(
        component="executor",
        env=shared.environment,
        clock=SystemClock(),
        threshold=shared.log_level,
    )


@functools.cache
def push_handler() -> PushHandler:
    """What answers pushes in this process."""
    configured, ports = settings(), production_ports()
    if configured.shared.trace_target is TraceTarget.NOWHERE:
        handle: DeliveryHandler = assemble(ports, configured).handle
    else:
        # Loaded only here: a process that sends no traces pays nothing for them.
        from executor.traced import traced  # noqa: PLC0415

        handle = traced(ports, configured, assemble)
    return functools.partial(answer_push, handle=handle, log=ports.log)


def make_model(configured: ExecutorSettings) -> GeminiModel:
    """The model that the settings name."""
    return GeminiModel(make_client(configured.gemini, configured.shared.project), SystemClock())


def make_background(configured: ExecutorSettings, model: GeminiModel) -> BackgroundModel | None:
    """The model for calls in the background, where the settings want them; on one client."""
    if configured.gemini.api is not GeminiApi.INTERACTIONS:
        return None
    # Loaded only where it is wanted: see shared.lazy.
    from executor.adapters.interactions import GeminiInteractions  # noqa: PLC0415

    return GeminiInteractions(model.client, SystemClock())


@functools.cache
def production_ports() -> ExecutorPorts:
    """The cloud, as this process reaches it.

    Made at the first push, as gRPC wants its event loop.
    """
    configured = settings()
    shared, clock = configured.shared, SystemClock()
    firestore = AsyncClient(project=shared.project, database=shared.database)
    draining = asyncio.Event()
    set_on_sigterm(draining)
    model = make_model(configured)
    return ExecutorPorts(
        documents=FirestoreDocuments(firestore),
        objects=GcsObjects(storage_client(shared.project)),
        model=model,
        background=make_background(configured, model),
        dead_letters=LazyQueue(_dead_letters),
        clock=clock,
        log=log(),
        new_id=lambda: uuid.uuid4().hex,
        draining=draining,
    )


def _dead_letters() -> Queue:
    """Few instances ever have a dead letter: see shared.lazy."""
    from google.pubsub_v1.services.publisher import PublisherAsyncClient  # noqa: PLC0415

    from shared.adapters.pubsub import PubSubQueue  # noqa: PLC0415

    return PubSubQueue(PublisherAsyncClient(), settings().dead_letter_topic)
