"""What the executor adds to a model call: against bare calls, under load, and over time."""

import asyncio
import io
import json
import resource
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import Any

import httpx2

from executor import wiring
from infra.local.local_functions import BUCKET
from shared.adapters.firestore import FirestoreDocuments
from shared.domain.documents import DocumentRef, Update
from tests.benchmarks.site import Jobs, in_flight, model_calls, services

#: Chosen for the samples: 100 bare sequences against 100 jobs, in turn.
_SECONDS = 60.0
_WARM_UP = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorCost:
    """Samples, in milliseconds unless said otherwise."""

    ours: Sequence[float]
    floor: Sequence[float]
    #: In flight -> steps a second, block by block.
    steps_per_second: Mapping[int, Sequence[float]]
    #: Steps done so far -> resident memory, in MiB.
    memory: Mapping[int, float]
    #: Part of deliveries that are copies -> model calls a step.
    calls_by_duplicates: Mapping[float, float]


def measure_executor(*, pairs: int, block: int, blocks: int) -> ExecutorCost:
    """Run the executor in this process against services in another."""
    with services(0.0) as addresses, _quiet():
        return asyncio.run(_measured(addresses, pairs, block, blocks))


async def _measured(
    addresses: Mapping[str, str], pairs: int, block: int, blocks: int
) -> ExecutorCost:
    executor = wiring.executor()
    documents = executor.documents
    assert isinstance(documents, FirestoreDocuments)
    jobs = Jobs(documents=documents, storage_url=addresses["STORAGE_EMULATOR_HOST"])
    await jobs.prepare()
    bare = _Bare(executor, addresses["GEMINI_BASE_URL"])
    await in_flight(await jobs.claimed(range(_WARM_UP)), executor.handle, 1)
    await bare.prepare()
    ours, floor = [], []
    for number, body in enumerate(await jobs.claimed(range(1_000, 1_000 + pairs))):
        begun = time.perf_counter()
        await in_flight([body], executor.handle, 1)
        between = time.perf_counter()
        await bare.once(number)
        ours.append((between - begun) * 1000)
        floor.append((time.perf_counter() - between) * 1000)
    copies = await _duplicates(jobs, executor.handle, addresses["GEMINI_BASE_URL"])
    rates, memory = await _under_load(jobs, executor.handle, block, blocks)
    return ExecutorCost(
        ours=ours,
        floor=floor,
        steps_per_second=rates,
        memory=memory,
        calls_by_duplicates=copies,
    )


async def _under_load(
    jobs: Jobs, handle: Any, block: int, blocks: int
) -> tuple[dict[int, list[float]], dict[int, float]]:
    rates: dict[int, list[float]] = {}
    memory: dict[int, float] = {}
    next_number, done = 100_000, 0
    for limit, count in ((1, 1), (32, 1), (8, blocks)):
        rates[limit] = []
        for _ in range(count):
            bodies = await jobs.claimed(range(next_number, next_number + block))
            next_number += block
            begun = time.perf_counter()
            await in_flight(bodies, handle, limit)
            rates[limit].append(block / (time.perf_counter() - begun))
            done += block
            memory[done] = _resident_mebibytes()
    return rates, memory


async def _duplicates(jobs: Jobs, handle: Any, gemini_url: str) -> dict[float, float]:
    found: dict[float, float] = {}
    for index, (part, copies) in enumerate(((0.0, 1), (0.5, 2), (0.9, 10))):
        steps = 20
        first = 10_000 + index * steps
        bodies = await jobs.claimed(range(first, first + steps))
        before = await model_calls(gemini_url)
        await in_flight([body for body in bodies for _ in range(copies)], handle, 16)
        found[part] = (await model_calls(gemini_url) - before) / steps
    return found


def _resident_mebibytes() -> float:
    with open("/proc/self/statm") as statm:  # noqa: PTH123 -- no file, a kernel's answer
        return int(statm.read().split()[1]) * resource.getpagesize() / 2**20


class _Bare:
    """The same calls with no logic: what nobody can go below with these clients."""

    def __init__(self, executor: Any, gemini_url: str) -> None:
        self._documents = executor.documents
        self._storage = executor.objects._client
        self._threads = ThreadPoolExecutor(8)
        self._gemini_url = gemini_url
        self._http = httpx2.AsyncClient(trust_env=False, timeout=_SECONDS)

    async def prepare(self) -> None:
        """Learn names and sizes from a finished job."""
        run_id = f"20260105-090000_BTCUSD_{0:06x}"
        self._run = DocumentRef("flow_runs", run_id)
        self._job = DocumentRef("llm_jobs", f"{run_id}~report")
        [run] = await self._documents.read([self._run], timeout_seconds=_SECONDS)
        llm = run.data["steps"]["report"]["inputs"]["llm"]
        schema_id = llm["llmProfile"]["structuredOutput"]["schemaId"]
        self._registry = [
            DocumentRef("llm_prompts", llm["promptId"]),
            DocumentRef("llm_schemas", schema_id),
        ]
        [schema] = await self._documents.read([self._registry[1]], timeout_seconds=_SECONDS)
        blobs = list(self._storage.list_blobs(BUCKET))
        names = [blob.name for blob in blobs]
        self._manifest = next(
            name for name in names if "chart" in name and name.endswith(".json")
        )
        self._image = next(name for name in names if name.endswith(".png"))
        self._ohlcv = next(name for name in names if "ohlcv" in name)
        self._report = next(
            blob.download_as_bytes() for blob in blobs if blob.name.endswith("/report.json")
        )
        self._body = json.dumps(
            {
                "contents": [{"role": "user", "parts": [{"text": "x" * 2_000}]}],
                "generationConfig": {
                    "responseMimeType": "application/json",
                    "responseJsonSchema": schema.data["jsonSchema"],
                },
            }
        )
        self._model = llm["llmProfile"]["modelName"]

    async def once(self, number: int) -> None:
        """One job's calls, in the order and with the parallelism of the executor's."""
        refs = [self._run, self._job, *self._registry]
        run, job, *_ = await self._documents.read(refs, timeout_seconds=_SECONDS)
        version = await self._documents.commit(
            [Update(ref=self._job, changes={("n",): number}, guard=job.version)],
            timeout_seconds=_SECONDS,
        )
        await asyncio.gather(self._read(self._ohlcv), self._chart())
        url = f"{self._gemini_url}/v1/models/{self._model}:generateContent"
        answer = await self._http.post(
            url, content=self._body, headers={"x-goog-api-key": "bench"}
        )
        answer.raise_for_status()
        await self._in_thread(self._upload, f"bare/{number}.json")
        await self._documents.commit(
            [
                Update(ref=self._run, changes={("n",): number}, guard=run.version),
                Update(ref=self._job, changes={("n",): -number - 1}, guard=version),
            ],
            timeout_seconds=_SECONDS,
        )

    async def _chart(self) -> None:
        await self._read(self._manifest)
        await self._read(self._image)

    async def _read(self, name: str) -> None:
        def read() -> None:
            self._storage.bucket(BUCKET).blob(name).download_as_bytes()

        await self._in_thread(read)

    def _upload(self, name: str) -> None:
        blob = self._storage.bucket(BUCKET).blob(name)
        blob.upload_from_string(self._report, "application/json", if_generation_match=0)

    async def _in_thread(self, call: Any, *arguments: Any) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the log out of the terminal and in the measured work: it is written all the same."""
    with redirect_stdout(_Discarded()):
        yield


class _Discarded(io.TextIOBase):
    def write(self, text: str) -> int:
        return len(text)


if __name__ == "__main__":
    cost = measure_executor(pairs=20, block=40, blocks=2)
    sys.stderr.write(f"{cost}\n")
