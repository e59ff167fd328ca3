"""The composition root: the one place that knows the concrete adapters."""

import functools
import os
import uuid

from google.cloud.firestore_v1.async_client import AsyncClient
from google.pubsub_v1.services.publisher import PublisherAsyncClient

from dispatcher.service import Dispatcher
from dispatcher.settings import DispatcherSettings, read_settings
from shared.adapters.clock import SystemClock
from shared.adapters.firestore import FirestoreDocuments
from shared.adapters.pubsub import PubSubQueue
from shared.events import EventLogger


@functools.cache
def settings() -> DispatcherSettings:
    """The settings of this process."""
    return read_settings(os.environ)


@functools.cache
def dispatcher() -> Dispatcher:
    """The dispatcher of this process, made at the first event: gRPC wants its event loop."""
    configured = settings()
    shared, clock = configured.shared, SystemClock()
    firestore = AsyncClient(project=shared.project, database=shared.database)
    return Dispatcher(
        documents=FirestoreDocuments(firestore),
        queue=PubSubQueue(PublisherAsyncClient(), configured.jobs_topic),
        clock=clock,
        log=EventLogger(
            component="dispatcher",
            env=shared.environment,
            clock=clock,
            threshold=shared.log_level,
        ),
        settings=configured,
        new_id=lambda: uuid.uuid4().hex,
    )
