"""A page of large runs, read by a process of its own: what memory that took, as JSON.

python -m tests.support.large_page 20
"""

import asyncio
import json
import resource
import sys
from collections.abc import AsyncIterator
from typing import Any

from google.cloud.firestore_v1.types import RunQueryResponse

from infra.local.emulators.clients import firestore_client
from shared.adapters.firestore import FirestoreUnfinishedWork
from shared.adapters.firestore_values import value_message
from shared.domain.document_size import MAX_DOCUMENT_BYTES
from shared.domain.documents import Snapshot
from tests.support.failing_grpc import serving

_DOCUMENTS = "projects/p/databases/(default)/documents"
_PATIENCE_SECONDS = 300.0


def recorded_run(number: int) -> bytes:
    """The answer of a query that brings one run, nearly full of booleans."""
    response = RunQueryResponse.pb()()
    response.document.name = f"{_DOCUMENTS}/flow_runs/r{number:02}"
    response.document.fields["status"].string_value = "RUNNING"
    filler = value_message([True] * (MAX_DOCUMENT_BYTES - 4_096))
    response.document.fields["filler"].CopyFrom(filler)
    return bytes(response.SerializeToString())


async def read_page(answer: bytes, runs: int) -> list[Snapshot]:
    """The page that an adapter makes of so many such answers, received over a connection."""

    async def behave(_: Any) -> AsyncIterator[bytes]:
        for _number in range(runs):
            yield answer

    async with serving(behave) as host:
        client: Any = firestore_client(host, "p")
        work = FirestoreUnfinishedWork(client)
        return list(
            await work.running_runs(
                "flow_runs", after=None, limit=runs, timeout_seconds=_PATIENCE_SECONDS
            )
        )


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Read a page of one run, then one of as many as told, and say what the second added."""
    answer = recorded_run(1)
    asyncio.run(read_page(answer, 1))
    before = _peak_bytes()
    page = asyncio.run(read_page(answer, int(sys.argv[1])))
    said = {
        "runs": [[dict(run.data), run.size_bytes] for run in page],
        "addedBytes": _peak_bytes() - before,
        "firstBytes": before,
    }
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main()
