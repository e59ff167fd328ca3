"""The services around the worker, in a process of their own, apart from what is measured.

    python -m tests.benchmarks.site_process LATENCY_SECONDS

Prints one JSON line with the addresses and runs until its standard input ends.
"""

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path

from infra.local.emulators.finding import Found, find_emulators
from infra.local.emulators.servers import running_emulators
from infra.local.gemini import create_app as create_gemini
from infra.local.processes.functions import BUCKET
from infra.local.serving.asgi import serve
from infra.local.storage.objects import ObjectFolder
from infra.local.storage.server import create_app as create_storage

#: Room for ten thousand steps with all their versions: 192 MiB are full after two thousand.
_HEAP_MEBIBYTES = 2_048


async def run(latency_seconds: float) -> None:
    """Run emulators, storage server and stand-in until standard input ends."""
    found = find_emulators(os.environ, Path.home())
    if not isinstance(found, Found):
        sys.exit("the benchmarks need the emulators: " + "; ".join(found.reasons))
    with tempfile.TemporaryDirectory() as scratch:
        folder = ObjectFolder(Path(scratch, "objects"))
        folder.create_bucket(BUCKET)
        async with (
            serve(create_storage(folder), name="storage server") as storage_url,
            serve(create_gemini(latency_seconds=latency_seconds), name="stand-in") as gemini,
            running_emulators(
                found,
                log_folder=Path(scratch),
                environ=os.environ,
                heap_mebibytes=_HEAP_MEBIBYTES,
            ) as emulators,
        ):
            addresses = {
                "FIRESTORE_EMULATOR_HOST": emulators.firestore_host,
                "PUBSUB_EMULATOR_HOST": emulators.pubsub_host,
                "STORAGE_EMULATOR_HOST": storage_url,
                "GEMINI_BASE_URL": gemini,
            }
            print(json.dumps(addresses), flush=True)  # noqa: T201 -- it is the answer
            await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(run(float(sys.argv[1])))
