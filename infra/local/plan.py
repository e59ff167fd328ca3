"""A running local environment, and the parts from which one is made."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from infra.local.overrides import EnvironmentOverrides, Instruments
from infra.local.processes.children import ChildProcess
from infra.local.state_file import Backend
from infra.local.storage.objects import ObjectFolder
from shared.ports import DocumentStore

#: Names of the emulators among an environment's addresses.
FIRESTORE, PUBSUB = "Firestore emulator", "Pub/Sub emulator"


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalEnvironment:
    """A running local environment; all of it ends with the block that yielded it."""

    backend: Backend
    project: str
    bucket: str
    documents: DocumentStore
    objects: ObjectFolder
    log_folder: Path
    #: Name of each part -> where it answers.
    addresses: Mapping[str, str]
    processes: Sequence[ChildProcess]
    #: The worker's calls to the document store so far.
    firestore_calls: Callable[[], int]
    #: None where there are no emulators.
    instruments: Instruments | None = None


@dataclass(frozen=True, slots=True)
class EnvironmentPlan:
    """What an environment is made with."""

    stack: AsyncExitStack
    project: str
    folder: ObjectFolder
    data_dir: Path
    sources: Path
    log_folder: Path
    environ: Mapping[str, str]
    gemini_url: str
    tuning: EnvironmentOverrides
