"""An executor in this process, connected and warm."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from typing import Any

from executor import wiring
from shared.adapters.firestore import FirestoreDocuments
from tests.benchmarks.bare import Bare
from tests.benchmarks.site import Jobs, in_flight

_WARM_UP = 10


async def warm_executor(addresses: Mapping[str, str]) -> tuple[Jobs, Any, Bare]:
    """Where jobs come from, what handles them, and its calls without its logic; all warm."""
    ports, handler = wiring.production_ports(), wiring.push_handler()
    documents = ports.documents
    assert isinstance(documents, FirestoreDocuments)
    jobs = Jobs(documents=documents, storage_url=addresses["STORAGE_EMULATOR_HOST"])
    await jobs.prepare()
    bare = Bare(ports)
    await in_flight(await jobs.claimed(range(_WARM_UP)), handler, 1)
    await bare.prepare()
    return jobs, handler, bare


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the log out of the terminal and in the measured work: it is written all the same."""
    with redirect_stdout(_Discarded()):
        yield


class _Discarded(io.TextIOBase):
    def write(self, text: str) -> int:
        return len(text)
