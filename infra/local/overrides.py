"""What differs for a test or a benchmark from what a user gets, and the instruments for it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TypeAlias

from starlette.types import ASGIApp

from infra.local.cloud.scheduler import SWEEP_EVERY_SECONDS
from infra.local.emulators.firestore_proxy import FirestoreProxy
from infra.local.emulators.pubsub import ACK_DEADLINE_SECONDS
from infra.local.emulators.relay import Relay
from infra.local.processes.children import ChildProcess

#: Is given the URL that pushes are for, runs a server in front of it and yields that server's
#: URL.
PushDetour: TypeAlias = Callable[[str], AbstractAsyncContextManager[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvironmentOverrides:
    """Differences from the environment that a user gets."""

    #: More environment variables for the functions.
    settings: Mapping[str, str] = field(default_factory=dict)
    sweep_every_seconds: float = SWEEP_EVERY_SECONDS
    ack_deadline_seconds: int = ACK_DEADLINE_SECONDS
    #: Start a function again that ended, as Cloud Run does; otherwise that ends everything.
    restarts: bool = False
    push_detour: PushDetour | None = None
    #: The same for the provider's hooks.
    hook_detour: PushDetour | None = None
    #: Put around the storage server.
    storage_wrapper: Callable[[ASGIApp], ASGIApp] = field(default=lambda app: app)


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruments:
    """The insides of an environment on the emulators."""

    relay: Relay
    #: By function; the sweep has none.
    firestore: Mapping[str, FirestoreProxy]
    emulators: Sequence[ChildProcess]
    #: By name.
    functions: Mapping[str, ChildProcess]

    @property
    def firestore_calls(self) -> int:
        """The calls that dispatcher and executor made so far."""
        return sum(proxy.total_calls for proxy in self.firestore.values())
