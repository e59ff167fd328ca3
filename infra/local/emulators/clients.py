"""Clients of the emulators, made without a lasting change of this process's environment."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from google.cloud.firestore_v1.async_client import AsyncClient
from google.pubsub_v1.services.publisher import PublisherAsyncClient
from google.pubsub_v1.services.subscriber import SubscriberAsyncClient

FIRESTORE_VARIABLE = "FIRESTORE_EMULATOR_HOST"
PUBSUB_VARIABLE = "PUBSUB_EMULATOR_HOST"


def firestore_client(host: str, project: str) -> AsyncClient:
    """A client of the Firestore emulator at host:port."""
    with _set(FIRESTORE_VARIABLE, host):
        return AsyncClient(project=project)


def publisher_client(host: str) -> PublisherAsyncClient:
    """A publisher of the Pub/Sub emulator at host:port."""
    with _set(PUBSUB_VARIABLE, host):
        return PublisherAsyncClient()


def subscriber_client(host: str) -> SubscriberAsyncClient:
    """A subscriber of the Pub/Sub emulator at host:port."""
    with _set(PUBSUB_VARIABLE, host):
        return SubscriberAsyncClient()


@contextmanager
def _set(name: str, value: str) -> Iterator[None]:
    # The clients take an emulator's address from this process's environment alone.
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]
        if before is not None:
            os.environ[name] = before
