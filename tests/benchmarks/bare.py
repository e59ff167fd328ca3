"""The executor's calls with no logic: the least that is possible with these clients."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from google.genai import types

from infra.local.processes.functions import BUCKET
from shared.domain.documents import DocumentRef, Update

_SECONDS = 60.0


class Bare:
    """The calls of one job, through the executor's own clients, with as many bytes."""

    def __init__(self, ports: Any) -> None:
        self._documents = ports.documents
        self._storage = ports.objects._client
        self._threads = ThreadPoolExecutor(8)
        self._models = ports.model.client.aio.models

    async def prepare(self) -> None:
        """Learn names and sizes from a finished job."""
        run_id = f"20260105-090000_BTCUSD_{0:06x}"
        self._run = DocumentRef("flow_runs", run_id)
        [run] = await self._documents.read([self._run], timeout_seconds=_SECONDS)
        [(step_id, step)] = [
            found for found in run.data["steps"].items() if found[1]["stepType"] == "LLM_REPORT"
        ]
        self._job = DocumentRef("llm_jobs", f"{run_id}~{step_id}")
        llm = step["inputs"]["llm"]
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
            blob.download_as_bytes() for blob in blobs if blob.name.endswith(f"/{step_id}.json")
        )
        self._schema = schema.data["jsonSchema"]
        # What the executor's commits write: all of the record, and the step's end. A number
        # more makes each of them a change.
        [job] = await self._documents.read([self._job], timeout_seconds=_SECONDS)
        self._record: dict[tuple[str, ...], Any] = {
            (name,): value for name, value in job.data.items()
        }
        self._ending: dict[tuple[str, ...], Any] = {
            ("steps", step_id, name): step[name] for name in ("status", "finishedAt", "outputs")
        }
        self._model = llm["llmProfile"]["modelName"]

    async def once(self, number: int) -> None:
        """One job's calls, in the order and with the parallelism of the executor's."""
        refs = [self._run, self._job, *self._registry]
        run, job, *_ = await self._documents.read(refs, timeout_seconds=_SECONDS)
        lease = self._documents.commit(
            [Update(ref=self._job, changes=self._record | {("n",): number}, guard=job.version)],
            timeout_seconds=_SECONDS,
        )
        # As on a first attempt of the executor's: read while the lease is written.
        version, ohlcv, image = await asyncio.gather(
            lease, self._read(self._ohlcv), self._chart()
        )
        await self._models.generate_content(
            model=self._model,
            contents=[
                types.Part.from_text(text=ohlcv.decode()),
                types.Part.from_bytes(data=image, mime_type="image/png"),
            ],
            config={
                "response_mime_type": "application/json",
                "response_json_schema": self._schema,
                "should_return_http_response": True,
            },
        )
        await self._in_thread(self._upload, f"bare/{number}.json")
        await self._documents.commit(
            [
                Update(
                    ref=self._run, changes=self._ending | {("n",): number}, guard=run.version
                ),
                Update(ref=self._job, changes=self._record | {("n",): ~number}, guard=version),
            ],
            timeout_seconds=_SECONDS,
        )

    async def _chart(self) -> bytes:
        await self._read(self._manifest)
        return await self._read(self._image)

    async def _read(self, name: str) -> bytes:
        blob = self._storage.bucket(BUCKET).blob(name)
        data: bytes = await self._in_thread(blob.download_as_bytes)
        return data

    def _upload(self, name: str) -> None:
        blob = self._storage.bucket(BUCKET).blob(name)
        blob.upload_from_string(self._report, "application/json", if_generation_match=0)

    async def _in_thread(self, call: Any, *arguments: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, call, *arguments)
