"""A page of the sweep takes little memory, whatever the runs on it hold."""

import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

from google.cloud.firestore_v1.types import RunQueryResponse

from shared.adapters.firestore import FirestoreUnfinishedWork
from shared.adapters.firestore_values import value_message
from shared.domain.document_size import MAX_DOCUMENT_BYTES

RUNS = 6
#: One such run, decoded as a whole, takes eight mebibytes for its list alone, and so would
#: every further one. Without that it is four, and what an interpreter allocates beside it.
MOST_BYTES = 5 * 1024 * 1024


class _Page:
    """A client of Firestore that answers every query with runs of a mebibyte, one by one."""

    _database_string = "projects/p/databases/(default)"
    _rpc_metadata = ()

    def __init__(self, filler: Any) -> None:
        self.filler = value_message(filler)

    @property
    def _firestore_api(self) -> "_Page":
        return self

    async def run_query(self, *_: object, **__: object) -> AsyncIterator[RunQueryResponse]:
        async def responses() -> AsyncIterator[RunQueryResponse]:
            for number in range(RUNS):
                response = RunQueryResponse.pb()()
                name = f"{self._database_string}/documents/flow_runs/r{number:02}"
                response.document.name = name
                response.document.fields["status"].string_value = "RUNNING"
                response.document.fields["filler"].CopyFrom(self.filler)
                yield RunQueryResponse.wrap(response)

        return responses()


async def test_runs_of_a_mebibyte_of_booleans_are_never_decoded_as_a_whole() -> None:
    client: Any = _Page([True] * (MAX_DOCUMENT_BYTES - 4_096))
    work = FirestoreUnfinishedWork(client)

    tracemalloc.start()
    try:
        runs = await work.running_runs("flow_runs", after=None, limit=RUNS, timeout_seconds=300)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert [run.data for run in runs] == [{"status": "RUNNING"}] * RUNS
    assert all(0 < MAX_DOCUMENT_BYTES - (run.size_bytes or 0) < 4_096 for run in runs)
    assert most < MOST_BYTES
