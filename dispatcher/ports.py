"""All that dispatcher and sweep need from outside."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from shared.log import EventLogger
from shared.ports import Clock, DocumentStore, Queue, UnfinishedWork


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatcherPorts:
    """What a dispatcher is made of; see `wiring.assemble`."""

    documents: DocumentStore
    queue: Queue
    clock: Clock
    log: EventLogger
    #: Makes ids that nobody else makes, such as a claim's.
    new_id: Callable[[], str]
    random: Random = field(default_factory=Random)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPorts(DispatcherPorts):
    """What a sweep is made of; see `wiring.assemble_sweep`."""

    work: UnfinishedWork
